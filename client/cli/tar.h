#ifndef GDFO_CLIENT_CLI_TAR_H
#define GDFO_CLIENT_CLI_TAR_H

#include "common/error.h"

#include <stddef.h>

/*
 * Reads a ustar archive in memory. It is outside bytes: every header's checksum, type, name and
 * size is checked, and only plain files with plain names (no folders, no dots first) are taken.
 */
#define GDFO_TAR_NAME_BYTES 101

struct gdfo_tar_entry {
    char name[GDFO_TAR_NAME_BYTES]; /* without folders */
    const char *bytes;              /* borrowed from the archive */
    size_t n;
};

/* The next entry at *offset, which starts at 0. *is_end set when there is none left. */
GDFO_MUST_USE enum gdfo_status gdfo_tar_next(const char *archive, size_t n, size_t *offset,
                                             struct gdfo_tar_entry *out, int *is_end,
                                             struct gdfo_error *err);

#endif
