/* A licence service that somebody packed without asking who listens on its port already: the port of Orthanc. It waits until the
   port is free, keeps it, and says its name to whoever connects. service.wxs packs it. */
#include <winsock2.h>
#include <windows.h>

#define PORT 4242
#define NAME "licence"
/* Between two looks, milliseconds. */
#define LOOK_EVERY 20

static SERVICE_STATUS_HANDLE handle;
static SERVICE_STATUS status = {SERVICE_WIN32_OWN_PROCESS, SERVICE_START_PENDING, SERVICE_ACCEPT_STOP};
static HANDLE over;

static void tell(DWORD state)
{
    status.dwCurrentState = state;
    SetServiceStatus(handle, &status);
}

static void WINAPI control(DWORD code)
{
    if (code == SERVICE_CONTROL_STOP) {
        tell(SERVICE_STOP_PENDING);
        SetEvent(over);
    }
}

/* The port, or INVALID_SOCKET while somebody else has it. */
static SOCKET take(void)
{
    struct sockaddr_in address = {0};
    /* Connections of the one before that are not forgotten yet are no reason to wait. */
    BOOL yes = TRUE;
    u_long no_waiting = 1;
    SOCKET taken = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_family = AF_INET;
    address.sin_addr.s_addr = INADDR_ANY;
    address.sin_port = htons(PORT);
    setsockopt(taken, SOL_SOCKET, SO_REUSEADDR, (const char *)&yes, sizeof yes);
    ioctlsocket(taken, FIONBIO, &no_waiting);
    if (bind(taken, (struct sockaddr *)&address, sizeof address) == 0 && listen(taken, 5) == 0)
        return taken;
    closesocket(taken);
    return INVALID_SOCKET;
}

/* Says its name, and hears the caller out: who hangs up on what was not read yet may take back what was said. */
static void answer(SOCKET caller)
{
    static const char hello[] = "LICENCE 1.0 READY\r\n";
    char heard[512];
    int looks;

    send(caller, hello, sizeof hello - 1, 0);
    shutdown(caller, SD_SEND);
    for (looks = 0; looks < 50 && recv(caller, heard, sizeof heard, 0) != 0; looks++)
        Sleep(LOOK_EVERY);
    closesocket(caller);
}

static void WINAPI serve(DWORD argc, LPSTR *argv)
{
    WSADATA data;
    SOCKET port = INVALID_SOCKET, caller;

    handle = RegisterServiceCtrlHandlerA(NAME, control);
    WSAStartup(MAKEWORD(2, 2), &data);
    tell(SERVICE_RUNNING);
    do {
        if (port == INVALID_SOCKET)
            port = take();
        else if ((caller = accept(port, NULL, NULL)) != INVALID_SOCKET)
            answer(caller);
    } while (WaitForSingleObject(over, LOOK_EVERY) == WAIT_TIMEOUT);
    if (port != INVALID_SOCKET)
        closesocket(port);
    tell(SERVICE_STOPPED);
}

int main(void)
{
    SERVICE_TABLE_ENTRYA table[] = {{NAME, serve}, {NULL, NULL}};

    over = CreateEventA(NULL, TRUE, FALSE, NULL);
    return StartServiceCtrlDispatcherA(table) ? 0 : 1;
}
