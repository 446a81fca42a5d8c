#include "client/cli/tar.h"

#include <string.h>

#define BLOCK        512
#define SIZE_AT      124
#define SIZE_DIGITS  12
#define CHECKSUM_AT  148
#define TYPE_AT      156
#define NAME_BYTES   100
#define SIZE_CEILING ((size_t)1 << 30)

/* Octal digits up to a blank or NUL. 0 when there is none or something else. */
static int octal(const char *field, size_t n, size_t *out)
{
    size_t v = 0, i = 0;
    while (i < n && field[i] == ' ') {
        i++;
    }
    if (i == n || field[i] < '0' || field[i] > '7') {
        return 0;
    }
    for (; i < n && field[i] >= '0' && field[i] <= '7'; i++) {
        v = v * 8 + (size_t)(field[i] - '0');
    }
    if (i < n && field[i] != '\0' && field[i] != ' ') {
        return 0;
    }
    *out = v;
    return 1;
}

static int is_checksum_good(const char *header)
{
    size_t sum = 0, want;
    for (size_t i = 0; i < BLOCK; i++) {
        sum += i >= CHECKSUM_AT && i < CHECKSUM_AT + 8 ? ' ' : (unsigned char)header[i];
    }
    return octal(header + CHECKSUM_AT, 8, &want) && want == sum;
}

static int is_zero(const char *block)
{
    for (size_t i = 0; i < BLOCK; i++) {
        if (block[i]) {
            return 0;
        }
    }
    return 1;
}

/* The last component, when it is a plain file name; else 0. */
static int take_name(const char *header, char out[GDFO_TAR_NAME_BYTES])
{
    char name[NAME_BYTES + 1];
    const char *last;
    memcpy(name, header, NAME_BYTES);
    name[NAME_BYTES] = '\0';
    last = strrchr(name, '/');
    last = last ? last + 1 : name;
    if (*last == '\0' || *last == '.' ||
        strspn(last, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
            strlen(last)) {
        return 0;
    }
    memcpy(out, last, strlen(last) + 1);
    return 1;
}

static int is_folder(const char *header)
{
    return header[TYPE_AT] == '5';
}

static enum gdfo_status bad(struct gdfo_error *err, size_t offset, const char *what)
{
    return gdfo_error_set(err, GDFO_STATUS_FORMAT, "the archive at byte %zu: %s", offset, what);
}

enum gdfo_status gdfo_tar_next(const char *archive, size_t n, size_t *offset,
                               struct gdfo_tar_entry *out, int *is_end, struct gdfo_error *err)
{
    *is_end = 0;
    for (;;) {
        const char *header = archive + *offset;
        size_t size, padded;
        if (*offset > n || n - *offset < BLOCK) {
            return bad(err, *offset, "it ends without its closing blocks");
        }
        if (is_zero(header)) {
            *is_end = 1;
            return GDFO_STATUS_OK;
        }
        if (!is_checksum_good(header)) {
            return bad(err, *offset, "the header's checksum is wrong");
        }
        if (!octal(header + SIZE_AT, SIZE_DIGITS, &size) || size > SIZE_CEILING) {
            return bad(err, *offset, "the size is no octal number up to 1 GiB");
        }
        padded = (size + BLOCK - 1) / BLOCK * BLOCK;
        if (n - *offset - BLOCK < padded) {
            return bad(err, *offset, "the file is cut short");
        }
        *offset += BLOCK + padded;
        if (is_folder(header)) {
            continue;
        }
        if ((header[TYPE_AT] != '0' && header[TYPE_AT] != '\0') || !take_name(header, out->name)) {
            return bad(err, *offset - BLOCK - padded, "not a plain file with a plain name");
        }
        out->bytes = header + BLOCK;
        out->n = size;
        return GDFO_STATUS_OK;
    }
}
