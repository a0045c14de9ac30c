/* Stands for a Windows software update package (update.exe) and its uninstaller (spuninst.exe).
 *
 * It leaves the traces that the real one leaves: HotFix key, uninstall folder, log line, a file that is put in place only
 * by the next restart, and exit code 3010. Build: x86_64-w64-mingw32-gcc -DKB='"KB4500331"' hotfix.c
 * Switches of its own: /hold waits first until the file "go" is in the Windows folder; /fail ends with 1603; /lie ends
 * with 0 and does nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define HOTFIX_KEY "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\HotFix\\" KB
#define UNINSTALL_KEY "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\" KB

static char windows[MAX_PATH];

static const char *in_windows(const char *name) {
    static char paths[4][MAX_PATH * 2];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s\\%s", windows, name);
    return path;
}

static const char *switch_of(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++)
        if ((argv[i][0] == '/' || argv[i][0] == '-') && !_strnicmp(argv[i] + 1, name, strlen(name)))
            return argv[i] + 1 + strlen(name);
    return NULL;
}

static void note(const char *what) {
    FILE *log = fopen(in_windows(KB ".log"), "a");
    if (log) {
        fprintf(log, "%s\n", what);
        fclose(log);
    }
}

static int uninstall(void) {
    HKEY key;
    if (RegOpenKeyExA(HKEY_LOCAL_MACHINE, HOTFIX_KEY, 0, KEY_READ, &key) != ERROR_SUCCESS) return 1603;
    RegCloseKey(key);
    RegDeleteKeyA(HKEY_LOCAL_MACHINE, HOTFIX_KEY);
    RegDeleteKeyA(HKEY_LOCAL_MACHINE, UNINSTALL_KEY);
    MoveFileExA(in_windows("system32\\" KB ".sys"), NULL, MOVEFILE_DELAY_UNTIL_REBOOT);
    note("uninstalled");
    puts("uninstalled, restart needed");
    return 3010;
}

static int install(int argc, char **argv, const char *self) {
    HKEY key;
    DWORD one = 1;
    note("begun");
    while (switch_of(argc, argv, "hold") && GetFileAttributesA(in_windows("go")) == INVALID_FILE_ATTRIBUTES) Sleep(20);
    if (switch_of(argc, argv, "fail")) {
        puts("the update failed");
        return 1603;
    }
    if (switch_of(argc, argv, "lie")) return 0;
    if (RegCreateKeyExA(HKEY_LOCAL_MACHINE, HOTFIX_KEY, 0, NULL, 0, KEY_ALL_ACCESS, NULL, &key, NULL)) return 5;
    RegSetValueExA(key, "Installed", 0, REG_DWORD, (const BYTE *)&one, sizeof one);
    RegCloseKey(key);
    CreateDirectoryA(in_windows("$NtUninstall" KB "$"), NULL);
    CreateDirectoryA(in_windows("$NtUninstall" KB "$\\spuninst"), NULL);
    CopyFileA(self, in_windows("$NtUninstall" KB "$\\spuninst\\spuninst.exe"), FALSE);
    if (!RegCreateKeyExA(HKEY_LOCAL_MACHINE, UNINSTALL_KEY, 0, NULL, 0, KEY_ALL_ACCESS, NULL, &key, NULL)) {
        RegSetValueExA(key, "DisplayName", 0, REG_SZ, (const BYTE *)KB, sizeof KB);
        RegCloseKey(key);
    }
    FILE *file = fopen(in_windows("system32\\" KB ".new"), "wb");
    if (file) {
        fputs("patched", file);
        fclose(file);
    }
    MoveFileExA(in_windows("system32\\" KB ".new"), in_windows("system32\\" KB ".sys"),
                MOVEFILE_DELAY_UNTIL_REBOOT | MOVEFILE_REPLACE_EXISTING);
    note("installed");
    puts("installed, restart needed");
    return switch_of(argc, argv, "norestart") ? 3010 : 1641;
}

int main(int argc, char **argv) {
    char self[MAX_PATH];
    GetModuleFileNameA(NULL, self, sizeof self);
    GetWindowsDirectoryA(windows, sizeof windows);
    const char *name = strrchr(self, '\\');
    /* Without /quiet the real one shows a wizard and waits for ever. */
    if (!switch_of(argc, argv, "quiet")) return 87;
    return name && !_stricmp(name + 1, "spuninst.exe") ? uninstall() : install(argc, argv, self);
}
