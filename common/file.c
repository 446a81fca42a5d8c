#include "common/file.h"

#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096

struct open_file {
    int fd;
    char name[256];
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

enum gdfo_status gdfo_reader_at(const struct gdfo_reader *r, uint64_t offset, void *out, size_t n,
                                struct gdfo_error *err)
{
    if (offset > r->size || n > r->size - offset) {
        return gdfo_error_set(err, GDFO_STATUS_FORMAT,
                              "%s: needs %zu bytes at offset %" PRIu64
                              ", but the file has %" PRIu64,
                              r->name, n, offset, r->size);
    }
    return r->read_at(r->ctx, offset, out, n, err);
}

static enum gdfo_status read_memory(void *ctx, uint64_t offset, void *out, size_t n,
                                    struct gdfo_error *err)
{
    (void)err;
    if (n > 0) {
        memcpy(out, (const char *)ctx + offset, n);
    }
    return GDFO_STATUS_OK;
}

struct gdfo_reader gdfo_reader_memory(const void *bytes, size_t n, const char *name)
{
    union {
        const void *in;
        void *out;
    } cast = {.in = bytes}; /* only ever read through */
    struct gdfo_reader r = {cast.out, n, name, read_memory};
    return r;
}

static enum gdfo_status read_fd(int fd, const char *name, uint64_t offset, char *out, size_t n,
                                struct gdfo_error *err)
{
    while (n > 0) {
        ssize_t got = pread(fd, out, n < (1u << 30) ? n : (1u << 30), (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return gdfo_error_errno(err, errno, "%s: read failed", name);
        }
        if (got == 0) {
            return gdfo_error_set(err, GDFO_STATUS_FORMAT, "%s: the file was cut short", name);
        }
        out += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_open_file(void *ctx, uint64_t offset, void *out, size_t n,
                                       struct gdfo_error *err)
{
    struct open_file *f = ctx;
    return read_fd(f->fd, f->name, offset, out, n, err);
}

static enum gdfo_status open_regular(const char *path, int *fd, struct stat *st,
                                     struct gdfo_error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd < 0) {
        int e = errno;
        enum gdfo_status status = gdfo_error_errno(err, e, "%s: cannot open", path);
        if (e == ENOENT) {
            status = GDFO_STATUS_NOT_FOUND;
            if (err) {
                err->status = status;
            }
        }
        return status;
    }
    if (fstat(*fd, st) != 0 || !S_ISREG(st->st_mode)) {
        (void)close(*fd);
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s: not a regular file", path);
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_reader_open(struct gdfo_reader *out, const char *path, struct gdfo_error *err)
{
    struct stat st;
    int fd;
    struct open_file *f;
    enum gdfo_status status = open_regular(path, &fd, &st, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    f = gdfo_mem_array(1, sizeof *f);
    if (!f) {
        (void)close(fd);
        return gdfo_error_no_memory(err, "opening a file");
    }
    f->fd = fd;
    GDFO_IGNORE(snprintf(f->name, sizeof f->name, "%s", base_name(path)));
    out->ctx = f;
    out->size = (uint64_t)st.st_size;
    out->name = f->name;
    out->read_at = read_open_file;
    return GDFO_STATUS_OK;
}

void gdfo_reader_close(struct gdfo_reader *r)
{
    if (r && r->read_at == read_open_file && r->ctx) {
        struct open_file *f = r->ctx;
        (void)close(f->fd);
        gdfo_mem_free(f);
        r->ctx = NULL;
        r->size = 0;
    }
}

enum gdfo_status gdfo_file_read(const char *path, struct gdfo_buf *b, struct gdfo_error *err)
{
    struct gdfo_reader r;
    char chunk[16384];
    uint64_t at = 0;
    enum gdfo_status status = gdfo_reader_open(&r, path, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    while (status == GDFO_STATUS_OK && at < r.size && gdfo_buf_ok(b)) {
        size_t n = r.size - at < sizeof chunk ? (size_t)(r.size - at) : sizeof chunk;
        status = gdfo_reader_at(&r, at, chunk, n, err);
        if (status == GDFO_STATUS_OK) {
            gdfo_buf_addn(b, chunk, n);
        }
        at += n;
    }
    if (status == GDFO_STATUS_OK && !gdfo_buf_ok(b)) {
        status = gdfo_error_set(err, GDFO_STATUS_LIMIT, "%s: %" PRIu64 " bytes; at most %zu", path,
                                r.size, b->max);
    }
    gdfo_reader_close(&r);
    return status;
}

static enum gdfo_status sync_folder_of(const char *path, struct gdfo_error *err)
{
    char folder[PATH_BYTES];
    const char *slash = strrchr(path, '/');
    int fd;
    enum gdfo_status status = GDFO_STATUS_OK;
    GDFO_IGNORE(snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1,
                         slash ? path : "."));
    fd = open(folder[0] ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        status = gdfo_error_errno(err, errno, "%s: cannot sync the folder", folder);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return status;
}

static enum gdfo_status write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, bytes, n);
        if (put < 0 && errno != EINTR) {
            return GDFO_STATUS_IO;
        }
        if (put > 0) {
            bytes += put;
            n -= (size_t)put;
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_file_write(const char *path, const void *bytes, size_t n,
                                 struct gdfo_error *err)
{
    char tmp[PATH_BYTES];
    int fd;
    int failed;
    if (snprintf(tmp, sizeof tmp, "%s.tmp.%ld", path, (long)getpid()) >= (int)sizeof tmp) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "path of %zu bytes is too long",
                              strlen(path));
    }
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return gdfo_error_errno(err, errno, "%s: cannot create", tmp);
    }
    failed = write_all(fd, bytes, n) != GDFO_STATUS_OK || fsync(fd) != 0;
    if (failed) {
        enum gdfo_status status = gdfo_error_errno(err, errno, "%s: cannot write", path);
        (void)close(fd);
        (void)unlink(tmp);
        return status;
    }
    if (close(fd) != 0 || rename(tmp, path) != 0) {
        enum gdfo_status status = gdfo_error_errno(err, errno, "%s: cannot put in place", path);
        (void)unlink(tmp);
        return status;
    }
    return sync_folder_of(path, err);
}

enum gdfo_status gdfo_file_mkdirs(const char *path, struct gdfo_error *err)
{
    char part[PATH_BYTES];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "folder name of %zu bytes", n);
    }
    for (size_t i = 1; i <= n; i++) {
        if (path[i] == '/' || path[i] == '\0') {
            memcpy(part, path, i);
            part[i] = '\0';
            if (mkdir(part, 0700) != 0 && errno != EEXIST) {
                return gdfo_error_errno(err, errno, "%s: cannot make the folder", part);
            }
        }
    }
    return GDFO_STATUS_OK;
}
