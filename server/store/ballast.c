/*
 * A file of really allocated bytes that is given up when the disk is full: in WAL mode SQLite needs
 * room even to delete, and the jobs must still be committed as paused (service.md 7.1, D9).
 */
#include "common/log.h"
#include "server/store/folder_priv.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ROOM_WITHOUT_BALLAST ((uint64_t)8 << 20)

void gdfo_ballast_drop(struct gdfo_store *s)
{
    char path[GDFO_STORE_PATH_BYTES];
    atomic_store(&s->is_short, 1);
    if (s->ballast_bytes > 0 && gdfo_folder_path(s, "ballast", path, NULL) == GDFO_STATUS_OK &&
        unlink(path) == 0) {
        gdfo_log(GDFO_LOG_WARN, "store", "ev=ballast_dropped bytes=%" PRId64, s->ballast_bytes);
    }
}

static int has_room(const struct gdfo_store *s)
{
    struct statvfs fs;
    uint64_t want = s->ballast_bytes > 0 ? 2 * (uint64_t)s->ballast_bytes : ROOM_WITHOUT_BALLAST;
    return statvfs(s->dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= want;
}

static int is_there(const struct gdfo_store *s, const char *path)
{
    struct stat st;
    return s->ballast_bytes == 0 || (stat(path, &st) == 0 && st.st_size == s->ballast_bytes);
}

static int make(const struct gdfo_store *s, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int is_made = fd >= 0 && posix_fallocate(fd, 0, (off_t)s->ballast_bytes) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (!is_made) {
        (void)unlink(path); /* half of it would only take room away */
    }
    return is_made;
}

void gdfo_ballast_keep(struct gdfo_store *s)
{
    char path[GDFO_STORE_PATH_BYTES];
    int is_short = atomic_load(&s->is_short);
    if (gdfo_folder_path(s, "ballast", path, NULL) != GDFO_STATUS_OK ||
        (!is_short && is_there(s, path)) || !has_room(s)) {
        return;
    }
    if ((is_there(s, path) || make(s, path)) && is_short) {
        atomic_store(&s->is_short, 0);
        gdfo_log(GDFO_LOG_INFO, "store", "ev=room_again");
    }
}

int gdfo_store_is_short(const struct gdfo_store *s)
{
    return atomic_load(&s->is_short);
}

enum gdfo_status gdfo_store_has_room(const struct gdfo_store *s, struct gdfo_error *err)
{
    return gdfo_store_is_short(s)
               ? gdfo_error_set(err, GDFO_STATUS_FULL, "the data folder's disk is full")
               : GDFO_STATUS_OK;
}
