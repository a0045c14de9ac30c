/* Stands for the servicing tools of Windows Vista and later, by the name that it is called by: wusa.exe, pkgmgr.exe, dism.exe.
 *
 * A "package" is a text file: its first line is the servicing name, its second, where there is one, a word: "foreign" is not
 * for this Windows, "lie" reports success and does nothing, "reboot" asks for a restart. What is in force stands where the
 * servicing stack keeps it (CurrentState = 0x70). The exit codes are those that the vendor documents for each tool; NT 6.0 answers
 * 1 to "already installed" and to "not applicable", as before KB949545.
 * Build: x86_64-w64-mingw32-gcc servicing.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define PACKAGES "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\Packages\\"

static char name[512], word[64];

static int read_package(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) return 2;
    if (!fgets(name, sizeof name, file)) return fclose(file), 13;
    if (!fgets(word, sizeof word, file)) word[0] = 0;
    fclose(file);
    name[strcspn(name, "\r\n")] = 0;
    word[strcspn(word, "\r\n")] = 0;
    return 0;
}

static const char *key(void) {
    static char text[1024];
    snprintf(text, sizeof text, "%s%s", PACKAGES, name);
    return text;
}

static int in_force(void) {
    HKEY found;
    if (RegOpenKeyExA(HKEY_LOCAL_MACHINE, key(), 0, KEY_READ, &found) != ERROR_SUCCESS) return 0;
    RegCloseKey(found);
    return 1;
}

static int put_in_force(void) {
    HKEY made;
    DWORD state = 0x70;
    if (!strcmp(word, "lie")) return 0;
    if (RegCreateKeyExA(HKEY_LOCAL_MACHINE, key(), 0, NULL, 0, KEY_ALL_ACCESS, NULL, &made, NULL)) return 5;
    RegSetValueExA(made, "CurrentState", 0, REG_DWORD, (const BYTE *)&state, sizeof state);
    RegCloseKey(made);
    return !strcmp(word, "reboot") ? 3010 : 0;
}

static int vista(void) {
    HKEY found;
    char text[16] = "";
    DWORD length = sizeof text;
    if (RegOpenKeyExA(HKEY_LOCAL_MACHINE, "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion", 0, KEY_READ, &found)) return 0;
    RegQueryValueExA(found, "CurrentVersion", NULL, NULL, (BYTE *)text, &length);
    RegCloseKey(found);
    return !strcmp(text, "6.0");
}

static int add(const char *path) {
    int code = read_package(path);
    if (code) return code;
    if (!strcmp(word, "foreign")) return vista() ? 1 : (int)0x80240017;
    if (in_force()) return vista() ? 1 : 0x240006;
    return put_in_force();
}

static int take_off(void) {
    if (!in_force()) return 0x240007;
    RegDeleteKeyA(HKEY_LOCAL_MACHINE, key());
    return 0;
}

static const char *value(int argc, char **argv, const char *before) {
    size_t length = strlen(before);
    for (int i = 1; i < argc; i++)
        if (!_strnicmp(argv[i], before, length)) return argv[i] + length;
    return NULL;
}

static int wusa(int argc, char **argv) {
    const char *path = NULL;
    for (int i = 1; i < argc; i++)
        if (argv[i][0] != '/') path = argv[i];
    if (!path) return 87;
    if (!value(argc, argv, "/uninstall")) return add(path);
    if (vista()) return 87;
    int code = read_package(path);
    return code ? code : take_off();
}

int main(int argc, char **argv) {
    char self[MAX_PATH];
    GetModuleFileNameA(NULL, self, sizeof self);
    const char *tool = strrchr(self, '\\') ? strrchr(self, '\\') + 1 : self;
    /* Without /quiet the real ones ask somebody. */
    if (!value(argc, argv, "/quiet") || !value(argc, argv, "/norestart")) return 87;
    printf("%s\n", tool);
    if (!_stricmp(tool, "wusa.exe")) return wusa(argc, argv);
    const char *path = value(argc, argv, !_stricmp(tool, "dism.exe") ? "/packagepath:" : "/m:");
    const char *gone = value(argc, argv, !_stricmp(tool, "dism.exe") ? "/packagename:" : "/up:");
    if (path) return add(path);
    if (!gone) return 87;
    snprintf(name, sizeof name, "%s", gone);
    return take_off();
}
