/* Stands for ewfmgr.exe and fbwfmgr.exe, by the name that it is called by. C:\windows\filter.txt names the folder in which the
 * rig (filter.sh) keeps the filter's state for this session (now) and the next one (next).
 * Build: x86_64-w64-mingw32-gcc filter.c
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>

static char folder[MAX_PATH];

static FILE *state(const char *name, const char *mode) {
    char path[MAX_PATH * 2];
    snprintf(path, sizeof path, "%s\\%s", folder, name);
    return fopen(path, mode);
}

static int is_on(const char *name) {
    char word[8] = "";
    FILE *file = state(name, "r");
    if (!file) return 0;
    if (!fgets(word, sizeof word, file)) word[0] = 0;
    fclose(file);
    return !strncmp(word, "on", 2);
}

/* One that is "stuck" refuses, as for a person without the rights. */
static int set_next(const char *word) {
    FILE *stuck = state("stuck", "r");
    if (stuck) {
        fclose(stuck);
        return 5;
    }
    FILE *file = state("next", "w");
    if (!file) return 5;
    fprintf(file, "%s\n", word);
    fclose(file);
    return 0;
}

int main(int argc, char **argv) {
    char self[MAX_PATH];
    GetModuleFileNameA(NULL, self, sizeof self);
    FILE *where = fopen("C:\\windows\\filter.txt", "r");
    if (!where || !fgets(folder, sizeof folder, where)) return 2;
    fclose(where);
    folder[strcspn(folder, "\r\n")] = 0;
    const char *tool = strrchr(self, '\\') ? strrchr(self, '\\') + 1 : self;
    const char *order = argc > 1 ? argv[argc - 1] : "";
    int now = is_on("now"), next = is_on("next");
    if (!_stricmp(tool, "fbwfmgr.exe")) {
        if (!strcmp(order, "/disable")) return set_next("off");
        if (!strcmp(order, "/enable")) return set_next("on");
        printf("File-based write filter configuration for the current session:\n    filter state: %s.\n", now ? "enabled" : "disabled");
        printf("File-based write filter configuration for the next session:\n    filter state: %s.\n", next ? "enabled" : "disabled");
        return 0;
    }
    if (!strcmp(order, "-disable")) return set_next("off");
    if (!strcmp(order, "-enable")) return set_next("on");
    const char *command = now == next ? "NO_CMD" : next ? "ENABLE" : "DISABLE";
    printf("Protected Volume Configuration\n Type            RAM\n State           %s\n Boot Command    %s\n", now ? "ENABLED" : "DISABLED", command);
    return 0;
}
