#!/bin/sh
# An example: the device is a directory on the node, with POSIX sh. Its option is `root`. Needs jq.
# Copy it, and put your device's means in the place of cp and sh. docs/adapters.md is the protocol.
set -u
for verb; do :; done # the last argument

# What goes to the real standard output is protocol; everything else is log.
exec 3>&1 1>&2
request=$(cat)
op=$(printf '%s' "$request" | jq -er '.op_id | strings') || { echo "the request is no JSON"; exit 2; }

# ok JQ-ARGUMENTS… PROGRAM: the one result, and the end.
ok() {
    jq -cn --arg op_id "$op" --arg outcome ok "$@" >&3 || exit 1
    exit 0
}
problem() {
    jq -cn --arg op_id "$op" --arg outcome "$1" --arg detail "$2" \
        '{result: {op_id: $op_id, outcome: $outcome, detail: $detail}}' >&3 || exit 1
    exit 0
}
field() { printf '%s' "$request" | jq -er "$1"; }

# Nothing that a path gives a meaning to.
plain() {
    case $1 in
    '' | .* | -* | *[!A-Za-z0-9._+-]*) return 1 ;;
    esac
}

case $verb in
describe)
    ok '{result: {op_id: $op_id, outcome: $outcome, name: "sandbox-sh", version: "1", protocols: [1], shells: ["sh"],
        verbs: ["describe", "inventory", "put", "get", "run", "start", "reboot", "ping", "remove"],
        options: {root: "the device'\''s directory"}, credentials: {}}}'
    ;;
inventory | put | get | run | start | reboot | ping | remove) ;;
*) problem unsupported "the verb is not known" ;;
esac

[ "$(field .protocol)" = 1 ] || problem bad_request "this adapter speaks protocol 1"
plain "$op" || problem bad_request "op_id is no plain name"
root=$(field '.device.options.root | strings') || problem bad_request "the option root is missing"
dir=$(field '.device.dir | strings') || problem bad_request "device.dir is missing"
[ -d "$root" ] || problem unreachable "$root is not there"
target=$dir/$op
WARDROUND_DEVICE_ROOT=$root
export WARDROUND_DEVICE_ROOT
mark() { cat "$root/boot-id" 2>/dev/null || echo first; }
name() {
    name=$(field '.args.name | strings') || problem bad_request "name is no text"
    plain "$name" || problem bad_request "name is no plain name"
}

case $verb in
ping) ok '{result: {op_id: $op_id, outcome: $outcome}}' ;;
inventory)
    ok --arg mark "$(mark)" '{result: {op_id: $op_id, outcome: $outcome, boot: {mark: $mark}, facts: {system: "sandbox"}}}'
    ;;
put)
    count=$(field '.args.files | arrays | length') || problem bad_request "files is no list"
    mkdir -p "$target" || problem failed "the directory can't be made"
    total=0 index=0
    while [ "$index" -lt "$count" ]; do
        file=$(field ".args.files[$index].name | strings") || problem bad_request "a file has no name"
        source=$(field ".args.files[$index].source | strings") || problem bad_request "a file has no source"
        plain "$file" || problem bad_request "a file has no plain name"
        [ -f "$source" ] || problem bad_request "the source of $file is not there"
        # Visible under its name only when it is whole.
        cp -- "$source" "$target/$file.$$.part" || problem failed "$file can't be copied"
        mv -f -- "$target/$file.$$.part" "$target/$file" || problem failed "$file can't be put into place"
        total=$((total + $(wc -c < "$target/$file")))
        index=$((index + 1))
        printf '{"progress":{"done":%s}}\n' "$total" >&3
    done
    ok --argjson bytes "$total" '{result: {op_id: $op_id, outcome: $outcome, bytes: $bytes}}'
    ;;
get)
    name
    limit=$(field '.args.bytes_max | numbers') || problem bad_request "bytes_max is no count"
    [ -f "$target/$name" ] || ok '{result: {op_id: $op_id, outcome: $outcome, found: false}}'
    # Through a file: a command line is too short for it.
    content=$(mktemp) || problem failed "no temporary file"
    tail -c "$limit" "$target/$name" | base64 -w 0 > "$content"
    jq -cn --arg op_id "$op" --rawfile content "$content" \
        '{result: {op_id: $op_id, outcome: "ok", found: true, content_base64: $content}}' >&3
    rm -f "$content"
    ;;
run)
    line=$(field '.args.line | strings') || problem bad_request "line is no text"
    limit=$(field '.args.output_bytes_max | numbers') || problem bad_request "output_bytes_max is no count"
    out=$(mktemp) || problem failed "no temporary file"
    (cd "$root" && exec sh -c "$line" < /dev/null > "$out" 2> /dev/null)
    code=$?
    head -c "$limit" "$out" > "$out.head"
    jq -cn --arg op_id "$op" --argjson code "$code" --rawfile stdout "$out.head" \
        '{result: {op_id: $op_id, outcome: "ok", exit_code: $code, stdout: $stdout}}' >&3
    rm -f "$out" "$out.head"
    ;;
start)
    name
    [ -f "$target/$name" ] || problem bad_request "there is no such script"
    (cd "$root" && setsid --fork sh "$target/$name" < /dev/null > /dev/null 2>&1 3>&-) || problem failed "it can't be started"
    ok '{result: {op_id: $op_id, outcome: $outcome}}'
    ;;
reboot)
    # The run that is to end may have ended already: then somebody's answer was lost.
    before=$(field '.args.boot.mark | strings') || before=$(mark)
    [ "$before" = "$(mark)" ] || ok '{result: {op_id: $op_id, outcome: $outcome, already: true}}'
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' > "$root/boot-id.part" && mv -f "$root/boot-id.part" "$root/boot-id" ||
        problem failed "boot-id can't be written"
    rm -f "$root/reboot-pending"
    ok '{result: {op_id: $op_id, outcome: $outcome, already: false}}'
    ;;
remove)
    rm -rf -- "${target:?}" || problem failed "it can't be removed"
    ok '{result: {op_id: $op_id, outcome: $outcome}}'
    ;;
esac
