#include "client/cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES 65536

static enum gdfo_status read_all(int fd, const char *name, struct gdfo_buf *b,
                                 struct gdfo_error *err)
{
    char piece[PIECE_BYTES];
    for (;;) {
        ssize_t n = read(fd, piece, sizeof piece);
        if (n == 0) {
            return GDFO_STATUS_OK;
        }
        if (n < 0) {
            return gdfo_error_errno(err, errno, "%s", name);
        }
        gdfo_buf_addn(b, piece, (size_t)n);
        if (!gdfo_buf_ok(b)) {
            return gdfo_error_set(err, GDFO_STATUS_LIMIT, "%s is longer than %zu bytes", name,
                                  b->max);
        }
    }
}

enum gdfo_status gdfo_input_read(const char *path, struct gdfo_buf *b, struct gdfo_error *err)
{
    int fd;
    enum gdfo_status status;
    if (strcmp(path, "-") == 0) {
        return read_all(STDIN_FILENO, "stdin", b, err);
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return gdfo_error_errno(err, errno, "%s", path);
    }
    status = read_all(fd, path, b, err);
    (void)close(fd);
    return status;
}
