/* The data folder: its layout, its lock, and making names in it durable. */
#include "common/mem.h"
#include "common/parse.h"
#include "server/store/folder_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_TRIES 8

enum gdfo_status gdfo_folder_path(const struct gdfo_store *s, const char *name,
                                  char out[GDFO_STORE_PATH_BYTES], struct gdfo_error *err)
{
    int n = snprintf(out, GDFO_STORE_PATH_BYTES, "%s/%s", s->dir, name);
    if (n < 0 || n >= GDFO_STORE_PATH_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "data folder: a path of %d bytes; at most %d", n,
                              GDFO_STORE_PATH_BYTES - 1);
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_folder_sync(const char *path, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        status = gdfo_error_errno(err, errno, "data folder: cannot sync a folder");
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return status;
}

/* Who holds it is written inside, for people; the flock alone decides. */
static int64_t holder_of(int fd)
{
    char text[32] = "";
    int64_t pid = 0;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return gdfo_parse_i64(text, 1, INT32_MAX, &pid) ? pid : 0;
}

static void write_holder(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) == 0) {
        GDFO_IGNORE(pwrite(fd, text, (size_t)n, 0));
    }
}

/* A daemon that stops removes the file, so the one we locked may be gone from its name by then. */
static int is_still_named(int fd, const char *path)
{
    struct stat ours;
    struct stat named;
    return fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_ino == named.st_ino &&
           ours.st_dev == named.st_dev;
}

static enum gdfo_status take_lock(struct gdfo_store *s, struct gdfo_error *err)
{
    char path[GDFO_STORE_PATH_BYTES];
    enum gdfo_status status = gdfo_folder_path(s, "gdfod.lock", path, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    for (int i = 0; i < LOCK_TRIES; i++) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
            return gdfo_error_errno(err, errno, "data folder: cannot open gdfod.lock");
        }
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int64_t pid = holder_of(fd);
            (void)close(fd);
            return gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                                  "state folder is in use by another gdfod (pid %" PRId64 ")", pid);
        }
        if (is_still_named(fd, path)) {
            write_holder(fd);
            s->lock_fd = fd;
            return GDFO_STATUS_OK;
        }
        (void)close(fd);
    }
    return gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                          "state folder is being taken by another gdfod");
}

/* What a killed daemon left half-uploaded; nobody else can be using it. */
static void clear_tmp(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
}

/* SQLite gives its -wal and -shm the mode of the database, so that is made first. */
static enum gdfo_status make_private(const char *path, struct gdfo_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return gdfo_error_errno(err, errno, "data folder: cannot open gdfod.db");
    }
    (void)close(fd);
    return GDFO_STATUS_OK;
}

static enum gdfo_status make_parts(struct gdfo_store *s, struct gdfo_error *err)
{
    char path[GDFO_STORE_PATH_BYTES];
    enum gdfo_status status = gdfo_folder_path(s, "blobs", path, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_file_mkdirs(path, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_folder_path(s, "tmp", path, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_file_mkdirs(path, err);
    }
    if (status == GDFO_STATUS_OK) {
        clear_tmp(path);
        status = gdfo_folder_path(s, "gdfod.db", path, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = make_private(path, err);
    }
    return status == GDFO_STATUS_OK ? gdfo_folder_sync(s->dir, err) : status;
}

enum gdfo_status gdfo_folder_open(struct gdfo_store *s, const char *dir, struct gdfo_error *err)
{
    enum gdfo_status status;
    if (!dir || !*dir || strlen(dir) + 128 > sizeof s->dir) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "data folder: a path of %zu bytes; want 1..%zu",
                              dir ? strlen(dir) : 0, sizeof s->dir - 128);
    }
    memcpy(s->dir, dir, strlen(dir) + 1);
    status = gdfo_file_mkdirs(dir, err);
    if (status == GDFO_STATUS_OK) {
        status = take_lock(s, err);
    }
    return status == GDFO_STATUS_OK ? make_parts(s, err) : status;
}

void gdfo_folder_close(struct gdfo_store *s)
{
    char path[GDFO_STORE_PATH_BYTES];
    if (s->lock_fd < 0) {
        return;
    }
    if (gdfo_folder_path(s, "gdfod.lock", path, NULL) == GDFO_STATUS_OK) {
        (void)unlink(path);
    }
    (void)close(s->lock_fd);
    s->lock_fd = -1;
}
