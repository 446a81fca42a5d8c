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

void gdfo_ballast_drop(struct gdfo_store *s)
{
    char path[GDFO_STORE_PATH_BYTES];
    if (s->ballast_bytes > 0 && gdfo_folder_path(s, "ballast", path, NULL) == GDFO_STATUS_OK &&
        unlink(path) == 0) {
        gdfo_log(GDFO_LOG_WARN, "store", "ev=ballast_dropped bytes=%" PRId64, s->ballast_bytes);
    }
}

static int has_room(const struct gdfo_store *s)
{
    struct statvfs fs;
    return statvfs(s->dir, &fs) == 0 &&
           (uint64_t)fs.f_bavail * fs.f_frsize >= 2 * (uint64_t)s->ballast_bytes;
}

void gdfo_ballast_keep(struct gdfo_store *s)
{
    char path[GDFO_STORE_PATH_BYTES];
    struct stat st;
    int fd;
    if (s->ballast_bytes <= 0 || gdfo_folder_path(s, "ballast", path, NULL) != GDFO_STATUS_OK ||
        (stat(path, &st) == 0 && st.st_size == s->ballast_bytes) || !has_room(s)) {
        return;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        int failed = posix_fallocate(fd, 0, (off_t)s->ballast_bytes) != 0;
        (void)close(fd);
        if (failed) {
            (void)unlink(path); /* half of it would only take room away */
        }
    }
}
