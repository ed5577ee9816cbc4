#include "control_socket.h"

#include "frames.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int open_socket(int folder_fd, struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret_address->sun_path, sizeof ret_address->sun_path, "/proc/self/fd/%d/" CONTROL_SOCKET_NAME, folder_fd);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int close_failed(int fd)
{
    int number = errno;
    close(fd);
    errno = number;
    return -1;
}

int control_socket_connect(int folder_fd)
{
    struct sockaddr_un address;
    int fd = open_socket(folder_fd, &address);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    return close_failed(fd);
}

/* Only for its owner from its first moment on: what the socket's file gets is the mode of the descriptor. */
int control_socket_listen(int folder_fd)
{
    struct sockaddr_un address;
    int fd = open_socket(folder_fd, &address);
    if (fd < 0)
        return -1;
    if ((unlinkat(folder_fd, CONTROL_SOCKET_NAME, 0) != 0 && errno != ENOENT) || fchmod(fd, 0600) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return close_failed(fd);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && listen(fd, (int)CONTROL_CLIENTS_MAX) == 0)
        return fd;
    (void)unlinkat(folder_fd, CONTROL_SOCKET_NAME, 0);
    return close_failed(fd);
}

bool control_socket_is_allowed(int fd)
{
    struct ucred user = {.uid = (uid_t)-1};
    socklen_t size = sizeof user;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &size) == 0 && (user.uid == geteuid() || user.uid == 0);
}

void control_socket_refuse(int fd, const char *text)
{
    struct {
        uint8_t head[FRAME_HEAD_SIZE];
        char text[200];
    } bye;
    snprintf(bye.text, sizeof bye.text, "%s", text);
    size_t length = strlen(bye.text);
    frames_head(FRAME_BYE, length, bye.head);
    (void)!send(fd, &bye, sizeof bye.head + length, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}
