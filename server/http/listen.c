#include "server/http/listen_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 256

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* The bytes of bind_to, and whether they name this machine alone. Returns the length, 0 when it is
 * no address. */
static socklen_t parse_address(const char *bind_to, unsigned port, union address *a,
                               int *is_loopback)
{
    const char *text = strcmp(bind_to, "localhost") == 0 ? "127.0.0.1" : bind_to;
    memset(a, 0, sizeof *a);
    if (inet_pton(AF_INET, text, &a->v4.sin_addr) == 1) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons((uint16_t)port);
        *is_loopback = (ntohl(a->v4.sin_addr.s_addr) >> 24) == 127;
        return sizeof a->v4;
    }
    if (inet_pton(AF_INET6, text, &a->v6.sin6_addr) == 1) {
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons((uint16_t)port);
        *is_loopback = IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr) != 0;
        return sizeof a->v6;
    }
    return 0;
}

static unsigned port_of(int fd)
{
    union address a;
    socklen_t n = sizeof a;
    memset(&a, 0, sizeof a);
    if (getsockname(fd, &a.any, &n) != 0) {
        return 0;
    }
    return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

static enum gdfo_status open_socket(const union address *a, socklen_t n, int *fd)
{
    const int on = 1;
    int s = socket(a->any.sa_family, SOCK_STREAM, 0);
    if (s < 0) {
        return GDFO_STATUS_IO;
    }
    if (fcntl(s, F_SETFD, FD_CLOEXEC) != 0 ||
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 || bind(s, &a->any, n) != 0 ||
        listen(s, BACKLOG) != 0) {
        int errnum = errno;
        (void)close(s);
        errno = errnum;
        return GDFO_STATUS_IO;
    }
    *fd = s;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_http_listen(const char *bind_to, unsigned port, int *fd, unsigned *taken,
                                  struct gdfo_error *err)
{
    union address a;
    int is_loopback = 0;
    socklen_t n = parse_address(bind_to, port, &a, &is_loopback);
    if (n == 0 || port > 65535) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "http.bind %s port %u: want an IPv4 or IPv6 address, or localhost, "
                              "and a port 0..65535",
                              bind_to, port);
    }
    if (!is_loopback) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "http.bind %s is not a loopback address, and without tokens nothing "
                              "else is served; want 127.0.0.1 or ::1",
                              bind_to);
    }
    if (open_socket(&a, n, fd) != GDFO_STATUS_OK) {
        if (errno == EADDRINUSE) {
            return gdfo_error_set(err, GDFO_STATUS_BUSY,
                                  "%s:%u is in use by another program; stop it, or choose another "
                                  "port with --http.port (0 = any free one)",
                                  bind_to, port);
        }
        return gdfo_error_errno(err, errno, "cannot listen on %s:%u", bind_to, port);
    }
    *taken = port_of(*fd);
    return GDFO_STATUS_OK;
}
