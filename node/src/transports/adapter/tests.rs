//! Adapters that keep the protocol, and adapters that break it in every way: short shell scripts.

use super::*;

/// An adapter that is a script; its verb is `$1`. The request stands in `$request`.
fn link(script: &str, credentials: &[(&str, Secret)]) -> AdapterLink {
    let script = format!("read -r request\n{script}");
    AdapterLink::named(
        "rx1/dev",
        &AdapterConfig {
            program: ["sh", "-c", &script, "adapter"].map(str::to_owned).to_vec(),
            shell: RemoteShell::Cmd,
            device_dir: r"C:\wardround".to_owned(),
            options: BTreeMap::from([("address".to_owned(), "10.1.2.3".to_owned())]),
            credentials: credentials.iter().map(|(name, secret)| ((*name).to_owned(), secret.clone())).collect(),
        },
    )
}

const OK: &str = r#"{"result":{"op_id":"none","outcome":"ok"}}"#;

#[tokio::test]
async fn a_request_holds_what_the_protocol_says() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("pw");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let said = dir.path().join("request");
    let script = format!("printf '%s' \"$request\" > {}; echo '{OK}'", said.display());
    link(&script, &[("password", Secret::File(secret))]).ping().await.unwrap();
    let request: Value = serde_json::from_str(&std::fs::read_to_string(&said).unwrap()).unwrap();
    assert_eq!(
        request,
        json!({
            "protocol": 1,
            "op_id": "none",
            "deadline_ms": 60_000,
            "device": {"name": "rx1/dev", "shell": "cmd", "dir": r"C:\wardround", "options": {"address": "10.1.2.3"}},
            "credentials": {"password": "hunter2"},
            "args": {},
        })
    );
}

#[tokio::test]
async fn outcomes_are_told_apart() {
    for (outcome, code, transient) in [
        ("unreachable", "unreachable", true),
        ("failed", "adapter_failed", true),
        ("refused", "login", false),
        ("unsupported", "adapter_refused", false),
        ("bad_request", "adapter_refused", false),
    ] {
        let script = format!(r#"echo '{{"result":{{"op_id":"none","outcome":"{outcome}","detail":"so it is"}}}}'"#);
        let error = link(&script, &[]).ping().await.unwrap_err();
        assert_eq!((error.code(), error.is_transient()), (code, transient), "{error}");
        assert!(error.to_string().contains("so it is"), "{error}");
    }
}

#[tokio::test]
async fn an_adapter_that_breaks_its_protocol_leaves_nothing_known() {
    for (script, words) in [
        ("exit 3", "ended with status 3"),
        ("echo '{}'; exit 0", "no line of the protocol"),
        ("true", "without a result"),
        ("kill -9 $$", "ended by a signal"),
        ("echo Traceback; echo oops >&2; exit 1", "no line of the protocol: \"Traceback\"; it logged: oops"),
        (&format!("echo '{OK}'; echo '{OK}'"), "more than one result"),
        (&format!("echo '{OK}'; exit 1"), "ended with status 1"),
        (r"printf '\377\376\n'", "no UTF-8"),
        (r#"echo '{"result":{"op_id":"other","outcome":"ok"}}'"#, "operation \"other\""),
        ("while :; do echo '{\"progress\":1}'; done", "10000 progress lines"),
        ("yes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx | tr -d '\\n'", "2097152 bytes"),
    ] {
        let error = link(script, &[]).ping().await.unwrap_err();
        assert!(error.to_string().contains(words), "{script}: {error}");
        assert!(matches!(error, DeviceError::Adapter { .. }) && error.is_transient(), "{error:?}");
        assert!(error.hint().contains("adapter test"), "{}", error.hint());
    }
    let gone = AdapterLink::named(
        "d",
        &AdapterConfig { program: vec!["/nowhere/adapter".to_owned()], ..link("", &[]).config },
    );
    assert!(gone.ping().await.unwrap_err().to_string().contains("could not be started"));
}

#[tokio::test]
async fn one_that_hangs_is_killed_with_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", pid.display());
    let hangs = link(&script, &[]);
    let error = hangs.run_line("ver", Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, DeviceError::Timeout { .. }) && error.is_transient(), "{error}");
    let child: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let gone = || std::fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z "));
    while !gone() {
        assert!(Instant::now() < deadline, "the child of a killed adapter lives on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_daemon_that_holds_the_output_does_not_hold_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let begin = Instant::now();
    link(&format!("sleep 600 & echo $! > {}; echo '{OK}'", pid.display()), &[]).ping().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(50));
    let daemon: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_secret_is_in_no_error_no_answer_no_argument_and_no_environment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pw");
    std::fs::write(&path, "hunter2+x").unwrap();
    let password = ("password", Secret::File(path));
    let leaks = [
        "echo \"got $request\" >&2; exit 1",
        "echo \"got $request\"",
        r#"echo '{"result":{"op_id":"none","outcome":"failed","detail":"login hunter2+x, aHVudGVyMit4"}}'"#,
        r#"echo '{"result":{"op_id":"hunter2+x","outcome":"ok"}}'"#,
    ];
    for script in leaks {
        let error = link(script, std::slice::from_ref(&password)).ping().await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("[secret]") && !shown.contains("hunter2") && !shown.contains("aHVudG"), "{shown}");
    }
    let echo =
        r#"printf '%s\n' '{"result":{"op_id":"none","outcome":"ok","exit_code":0,"stdout":"set P=hunter2+x\n"}}'"#;
    let answer = link(echo, std::slice::from_ref(&password)).run_line("set", QUESTION_TIMEOUT).await.unwrap();
    assert_eq!(answer, "set P=[secret]");
    let content = STANDARD.encode("password hunter2+x");
    let file =
        format!(r#"echo '{{"result":{{"op_id":"op","outcome":"ok","found":true,"content_base64":"{content}"}}}}'"#);
    let text = link(&file, std::slice::from_ref(&password)).read_text("op", "log").await.unwrap();
    assert_eq!(text.as_deref(), Some("password [secret]"));
    // Neither its arguments nor its environment hold it, nor the variable that a secret comes from.
    let look = format!(
        "if tr '\\0' '\\n' < /proc/$$/cmdline | grep -q 'hunte[r]2'; then exit 1; fi\n\
         if env | grep -q -e 'hunte[r]2' -e CARGO_MANIFEST; then exit 2; fi\necho '{OK}'"
    );
    link(&look, std::slice::from_ref(&password)).ping().await.unwrap();
    assert!(!format!("{:?}", link("", std::slice::from_ref(&password))).contains("hunter2"));
}

#[tokio::test]
async fn a_credential_that_can_not_be_had_is_named_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let short = dir.path().join("short");
    std::fs::write(&short, "abc").unwrap();
    for (secret, words) in
        [(Secret::File(dir.path().join("none")), "none could not be read"), (Secret::File(short), "fewer than 4 bytes")]
    {
        let error = link(&format!("echo '{OK}'"), &[("password", secret)]).ping().await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("credential password") && text.contains(words) && !text.contains("abc"), "{text}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn no_program_inherits_a_variable_that_holds_a_secret() {
    // Any variable that no program of the tests asks for, and that no shell makes for itself.
    let ours = ["PATH", "HOME", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_", "LANG", "LC_ALL", "TZ"];
    let Some(name) = std::env::vars().map(|(name, _)| name).find(|name| !ours.contains(&name.as_str())) else { return };
    let names = async || {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", "env | cut -d= -f1"]);
        let done = super::super::run_process(command, None, Duration::from_secs(60), 64 * 1024).await.unwrap();
        decode(&done.stdout)
    };
    assert!(names().await.lines().any(|line| line == name), "{name}");
    let _link = link("", &[("password", Secret::Env(name.clone()))]);
    assert!(!names().await.lines().any(|line| line == name), "{name}");
    let kept = Secret::Command(["sh", "-c", "env | cut -d= -f1 | tr '\\n' ' '"].map(str::to_owned).to_vec());
    let kept = kept.read().await.unwrap();
    assert!(kept.expose().contains("PATH") && !kept.expose().split(' ').any(|word| word == name), "{name}");
}

#[tokio::test]
async fn answers_of_the_wrong_form_are_no_answers() {
    let result = |fields: &str| format!(r#"echo '{{"result":{{"op_id":"'$op'","outcome":"ok"{fields}}}}}'"#);
    let with = |fields: &str| {
        let script = format!("op=none; case $1 in get | put) op=op;; esac\n{}", result(fields));
        link(&script, &[])
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    std::fs::write(&file, "12345").unwrap();
    let put = with(r#","bytes":4"#).put("op", &[("f", &file)]).await.unwrap_err();
    assert!(matches!(put, DeviceError::Unreachable { .. }), "{put}");
    with(r#","bytes":5"#).put("op", &[("f", &file)]).await.unwrap();
    assert!(with("").put("op", &[("f", &file)]).await.unwrap_err().to_string().contains("bytes is no count"));
    assert_eq!(with(r#","found":false"#).read_text("op", "f").await.unwrap(), None);
    for (fields, words) in [
        ("", "found is neither"),
        (r#","found":true"#, "content_base64 is no text"),
        (r#","found":true,"content_base64":"%%""#, "no base64"),
    ] {
        let error = with(fields).read_text("op", "f").await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let long = format!(r#","found":true,"content_base64":"{}""#, STANDARD.encode([0; 11]));
    let link = with(&long);
    assert!(link.get("op", "f", 10).await.unwrap_err().to_string().contains("more than 10 bytes"));
    for (fields, words) in [
        (r#","stdout":"x""#, "exit_code null"),
        (r#","exit_code":4294967296,"stdout":"""#, "no number of 32 bits"),
        (r#","exit_code":0"#, "stdout is no text"),
    ] {
        let error = with(fields).run_line("ver", QUESTION_TIMEOUT).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for (fields, words) in
        [(r#","boot":7"#, "boot is no object"), (r#","boot":{}"#, "neither mark, shutdown nor started_ms")]
    {
        let error = with(fields).boot().await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(with(r#","boot":null"#).boot().await.unwrap(), None);
    let times = with(r#","boot":{"started_ms":5,"now_ms":9}"#).boot().await.unwrap();
    assert_eq!(times, Some(Boot::Times { started_ms: 5, now_ms: Some(9) }));
}

#[tokio::test]
async fn a_description_without_what_is_needed_is_refused() {
    let with = |fields: &str| link(&format!(r#"echo '{{"result":{{"op_id":"none","outcome":"ok"{fields}}}}}'"#), &[]);
    for (fields, words) in [
        ("", "protocols is no list"),
        (r#","protocols":[2],"verbs":[]"#, "does not speak protocol 1"),
        (r#","protocols":[1],"verbs":[1]"#, "verbs holds"),
        (r#","protocols":[1],"verbs":["describe","ping"]"#, "refuses inventory"),
    ] {
        let error = with(fields).described().await.unwrap_err().to_string();
        assert!(error.contains(words), "{fields}: {error}");
    }
    let verbs =
        r#","protocols":[1],"verbs":["describe","inventory","put","get","run","reboot","ping","remove","start"]"#;
    assert!(with(verbs).described().await.unwrap().has(Verb::Start));
}
