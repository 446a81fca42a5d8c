#define _DEFAULT_SOURCE /* explicit_bzero, MADV_DONTDUMP */
#include "server/net/secret.h"

#include "common/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct gdfo_secret {
    char *page;
    size_t bytes, prefix_bytes;
};

static int is_printable(const char *s)
{
    for (; *s; s++) {
        if (*s <= 0x20 || *s >= 0x7f) {
            return 0;
        }
    }
    return 1;
}

static enum gdfo_status lock(struct gdfo_secret *s, struct gdfo_error *err)
{
    void *page = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return gdfo_error_no_memory(err, "keeping a secret");
    }
    s->page = page;
    if (mlock(page, s->bytes) != 0) {
        return gdfo_error_errno(err, errno, "locking %zu bytes of memory for a secret", s->bytes);
    }
    (void)madvise(page, s->bytes, MADV_DONTDUMP);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_secret_create(struct gdfo_secret **out, const char *prefix, const char *text,
                                    struct gdfo_error *err)
{
    struct gdfo_secret *s;
    enum gdfo_status status;
    if (!*text || strlen(text) > GDFO_SECRET_MAX || !is_printable(text)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "secret of %zu bytes: want 1..%d of printable ASCII, no blanks",
                              strlen(text), GDFO_SECRET_MAX);
    }
    s = gdfo_mem_array(1, sizeof *s);
    if (!s) {
        return gdfo_error_no_memory(err, "keeping a secret");
    }
    s->prefix_bytes = strlen(prefix);
    s->bytes = s->prefix_bytes + strlen(text) + 1;
    status = lock(s, err);
    if (status != GDFO_STATUS_OK) {
        gdfo_secret_destroy(s);
        return status;
    }
    (void)snprintf(s->page, s->bytes, "%s%s", prefix, text);
    *out = s;
    return GDFO_STATUS_OK;
}

void gdfo_secret_destroy(struct gdfo_secret *s)
{
    if (s && s->page) {
        explicit_bzero(s->page, s->bytes);
        (void)munmap(s->page, s->bytes); /* unlocks as well */
    }
    gdfo_mem_free(s);
}

char *gdfo_secret_whole(struct gdfo_secret *s)
{
    return s->page;
}

int gdfo_secret_is_in(const struct gdfo_secret *s, const char *text)
{
    return s && strstr(text, s->page + s->prefix_bytes) != NULL;
}
