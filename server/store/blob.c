/*
 * Content by its hash. Order of durability (service.md 7.2): the bytes in tmp/, fsync, rename to
 * blobs/ab/cdef..., fsync of both folders; only then the row. Content that no row needs, of an
 * upload whose row never came or of a deleted file, is swept when it is older than a day: by then
 * no upload of it can still be on its way to its row, since each one renames a fresh file over it.
 */
#include "common/mem.h"
#include "common/ulid.h"
#include "server/store/folder_priv.h"
#include "server/store/store_blob.h"
#include "server/store/store_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_S       86400
#define CHUNK_BYTES 65536

struct gdfo_store_upload {
    struct gdfo_store *s;
    struct gdfo_sha256 hash;
    uint64_t bytes, max_bytes;
    int fd;
    char path[GDFO_STORE_PATH_BYTES];
};

static enum gdfo_status blob_path(const struct gdfo_store *s, const unsigned char *sha256,
                                  char *out, struct gdfo_error *err)
{
    char hex[GDFO_SHA256_HEX];
    char name[GDFO_SHA256_HEX + 16];
    gdfo_hex(sha256, GDFO_SHA256_BYTES, hex);
    GDFO_IGNORE(snprintf(name, sizeof name, "blobs/%.2s/%s", hex, hex + 2));
    return gdfo_folder_path(s, name, out, err);
}

/* A full disk is told to the whole store: what follows would only fail too. */
static enum gdfo_status write_failed(struct gdfo_store *s, int errnum, struct gdfo_error *err)
{
    enum gdfo_status status =
        gdfo_error_errno(err, errnum, "data folder: cannot store the content");
    if (status == GDFO_STATUS_FULL) {
        atomic_store(&s->is_full, 1);
        gdfo_ballast_drop(s);
    }
    return status;
}

enum gdfo_status gdfo_store_upload_begin(struct gdfo_store *s, uint64_t max_bytes,
                                         struct gdfo_store_upload **out, struct gdfo_error *err)
{
    char name[64];
    char ulid[GDFO_ULID_BYTES];
    enum gdfo_status status;
    struct gdfo_store_upload *up = gdfo_mem_array(1, sizeof *up);
    if (!up) {
        return gdfo_error_no_memory(err, "beginning an upload");
    }
    gdfo_ulid(ulid, gdfo_store_now_ms(s));
    GDFO_IGNORE(snprintf(name, sizeof name, "tmp/up-%s", ulid));
    up->s = s;
    up->fd = -1;
    up->max_bytes = max_bytes;
    gdfo_sha256_init(&up->hash);
    status = gdfo_folder_path(s, name, up->path, err);
    if (status == GDFO_STATUS_OK) {
        up->fd = open(up->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        status = up->fd >= 0 ? status : write_failed(s, errno, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_store_upload_abort(up);
        return status;
    }
    *out = up;
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_store_upload_add(struct gdfo_store_upload *up, const void *bytes, size_t n,
                                       struct gdfo_error *err)
{
    const char *at = bytes;
    size_t left = n;
    if (n > up->max_bytes - up->bytes) {
        enum gdfo_status status = gdfo_error_set(
            err, GDFO_STATUS_LIMIT, "content of more than %" PRIu64 " bytes", up->max_bytes);
        gdfo_error_at(err, "", "body_too_large");
        return status;
    }
    while (left > 0) {
        ssize_t put = write(up->fd, at, left);
        if (put < 0 && errno != EINTR) {
            return write_failed(up->s, errno, err);
        }
        if (put > 0) {
            at += put;
            left -= (size_t)put;
        }
    }
    gdfo_sha256_add(&up->hash, bytes, n);
    up->bytes += n;
    return GDFO_STATUS_OK;
}

void gdfo_store_upload_abort(struct gdfo_store_upload *up)
{
    if (!up) {
        return;
    }
    if (up->fd >= 0) {
        (void)close(up->fd);
        (void)unlink(up->path);
    }
    gdfo_mem_free(up);
}

/* Makes blobs/ab when it is new, and durable: a rename into it is worth no more than its name. */
static enum gdfo_status make_folder(struct gdfo_store *s, const char *folder,
                                    struct gdfo_error *err)
{
    char blobs[GDFO_STORE_PATH_BYTES];
    enum gdfo_status status;
    if (mkdir(folder, 0700) != 0) {
        return errno == EEXIST ? GDFO_STATUS_OK : write_failed(s, errno, err);
    }
    status = gdfo_folder_path(s, "blobs", blobs, err);
    return status == GDFO_STATUS_OK ? gdfo_folder_sync(blobs, err) : status;
}

static enum gdfo_status put_in_place(struct gdfo_store *s, const char *from, const char *to,
                                     struct gdfo_error *err)
{
    char folder[GDFO_STORE_PATH_BYTES];
    enum gdfo_status status;
    memcpy(folder, to, strlen(to) + 1);
    *strrchr(folder, '/') = '\0';
    status = make_folder(s, folder, err);
    if (status == GDFO_STATUS_OK && rename(from, to) != 0) {
        status = write_failed(s, errno, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_folder_sync(folder, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_folder_path(s, "tmp", folder, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_folder_sync(folder, err) : status;
}

enum gdfo_status gdfo_store_upload_end(struct gdfo_store_upload *up, struct gdfo_store_blob *out,
                                       struct gdfo_error *err)
{
    char path[GDFO_STORE_PATH_BYTES];
    struct gdfo_store_blob blob = {.bytes = up->bytes};
    enum gdfo_status status;
    gdfo_sha256_end(&up->hash, blob.sha256);
    status = blob_path(up->s, blob.sha256, path, err);
    if (status == GDFO_STATUS_OK && fsync(up->fd) != 0) {
        status = write_failed(up->s, errno, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = put_in_place(up->s, up->path, path, err);
    }
    if (status == GDFO_STATUS_OK) {
        *out = blob;
    }
    gdfo_store_upload_abort(up); /* its name in tmp/ is gone, or has to go */
    return status;
}

enum gdfo_status gdfo_store_blob_put(struct gdfo_store *s, const void *bytes, size_t n,
                                     struct gdfo_store_blob *out, struct gdfo_error *err)
{
    struct gdfo_store_upload *up;
    enum gdfo_status status = gdfo_store_upload_begin(s, n, &up, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    status = gdfo_store_upload_add(up, bytes, n, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_store_upload_abort(up);
        return status;
    }
    return gdfo_store_upload_end(up, out, err);
}

enum gdfo_status gdfo_store_blob_open(struct gdfo_store *s, const struct gdfo_store_blob *blob,
                                      struct gdfo_reader *out, struct gdfo_error *err)
{
    char path[GDFO_STORE_PATH_BYTES];
    char hex[GDFO_SHA256_HEX];
    struct gdfo_reader r;
    enum gdfo_status status = blob_path(s, blob->sha256, path, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_reader_open(&r, path, err);
    }
    if (status == GDFO_STATUS_OK && r.size == blob->bytes) {
        *out = r;
        return GDFO_STATUS_OK;
    }
    gdfo_hex(blob->sha256, 8, hex);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                                "content %s... has %" PRIu64 " bytes; want %" PRIu64, hex, r.size,
                                blob->bytes);
        gdfo_reader_close(&r);
    } else if (status == GDFO_STATUS_NOT_FOUND) {
        status = gdfo_error_set(err, GDFO_STATUS_CORRUPT, "content %s... is not in the data folder",
                                hex);
    }
    return status;
}

enum gdfo_status gdfo_store_blob_read(struct gdfo_store *s, const struct gdfo_store_blob *blob,
                                      struct gdfo_buf *bytes, struct gdfo_error *err)
{
    char chunk[CHUNK_BYTES];
    unsigned char sha256[GDFO_SHA256_BYTES];
    struct gdfo_sha256 hash;
    struct gdfo_reader r;
    uint64_t at = 0;
    enum gdfo_status status = gdfo_store_blob_open(s, blob, &r, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_sha256_init(&hash);
    while (status == GDFO_STATUS_OK && at < r.size && gdfo_buf_ok(bytes)) {
        size_t n = r.size - at < sizeof chunk ? (size_t)(r.size - at) : sizeof chunk;
        status = gdfo_reader_at(&r, at, chunk, n, err);
        if (status == GDFO_STATUS_OK) {
            gdfo_sha256_add(&hash, chunk, n);
            gdfo_buf_addn(bytes, chunk, n);
        }
        at += n;
    }
    gdfo_reader_close(&r);
    gdfo_sha256_end(&hash, sha256);
    if (status == GDFO_STATUS_OK && !gdfo_buf_ok(bytes)) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "content of more than %zu bytes", bytes->max);
    }
    if (status == GDFO_STATUS_OK && memcmp(sha256, blob->sha256, sizeof sha256) != 0) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "content is not what was stored");
    }
    return status;
}

enum gdfo_status gdfo_blob_row(struct gdfo_store *s, const struct gdfo_store_blob *blob,
                               struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_BLOB_ADD);
    gdfo_query_blob(&q, blob->sha256, GDFO_SHA256_BYTES);
    gdfo_query_int(&q, (int64_t)blob->bytes);
    gdfo_query_int(&q, gdfo_store_now(s));
    return gdfo_query_run(&q, err);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The hash that a name in blobs/ab stands for; 0 when it is not one of ours. */
static int hash_of_name(int folder, const char *name, unsigned char out[GDFO_SHA256_BYTES])
{
    if (strlen(name) != 2 * (GDFO_SHA256_BYTES - 1)) {
        return 0;
    }
    out[0] = (unsigned char)folder;
    for (size_t i = 1; i < GDFO_SHA256_BYTES; i++) {
        int high = hex_digit(name[2 * i - 2]);
        int low = hex_digit(name[2 * i - 1]);
        if (high < 0 || low < 0) {
            return 0;
        }
        out[i] = (unsigned char)(high * 16 + low);
    }
    return 1;
}

/* With the writer taken: no row that needs the content can come between look and unlink. */
static enum gdfo_status drop_if_unneeded(struct gdfo_store *s, int dir, const char *name,
                                         const unsigned char *sha256)
{
    int64_t is_needed = 1;
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_BLOB_NEEDED);
    enum gdfo_status status;
    gdfo_query_blob(&q, sha256, GDFO_SHA256_BYTES);
    status = gdfo_query_one_int(&q, 1, &is_needed, NULL);
    if (status == GDFO_STATUS_OK && !is_needed) {
        q = gdfo_query(&s->writer, GDFO_SQL_BLOB_FORGET);
        gdfo_query_blob(&q, sha256, GDFO_SHA256_BYTES);
        status = gdfo_query_run(&q, NULL);
        if (status == GDFO_STATUS_OK) {
            (void)unlinkat(dir, name, 0);
        }
    }
    return status;
}

static void sweep_one(struct gdfo_store *s, int folder, int dir, const char *name)
{
    unsigned char sha256[GDFO_SHA256_BYTES];
    struct stat st;
    enum gdfo_status status;
    if (!hash_of_name(folder, name, sha256) || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        st.st_mtime > gdfo_store_now(s) - DAY_S || gdfo_tx_begin(s, NULL) != GDFO_STATUS_OK) {
        return;
    }
    status = drop_if_unneeded(s, dir, name, sha256);
    GDFO_IGNORE(gdfo_tx_end(s, status, NULL)); /* what stays is swept tomorrow */
}

void gdfo_blob_sweep(struct gdfo_store *s, int folder)
{
    char path[GDFO_STORE_PATH_BYTES];
    char name[16];
    DIR *dir = NULL;
    struct dirent *entry;
    GDFO_IGNORE(snprintf(name, sizeof name, "blobs/%02x", (unsigned int)folder & 0xFFU));
    if (gdfo_folder_path(s, name, path, NULL) == GDFO_STATUS_OK) {
        dir = opendir(path);
    }
    while (dir && (entry = readdir(dir)) != NULL) {
        sweep_one(s, folder, dirfd(dir), entry->d_name);
    }
    if (dir) {
        (void)closedir(dir);
    }
}
