#ifndef GDFO_COMMON_ERROR_H
#define GDFO_COMMON_ERROR_H

#include "common/status.h"

#define GDFO_ERROR_TEXT_MAX    512
#define GDFO_ERROR_FIELD_MAX   128
#define GDFO_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/*
 * The words of one failure, written once where the fault is understood. Callers that know more add
 * which thing it was with gdfo_error_prefix. Never holds a secret, a prompt or an upstream body.
 */
struct gdfo_error {
    enum gdfo_status status;
    char text[GDFO_ERROR_TEXT_MAX];   /* one line, no final full stop needed */
    char code[40];                    /* wire code when the status alone is too coarse; else "" */
    char field[GDFO_ERROR_FIELD_MAX]; /* JSON pointer or FILE:LINE of the culprit; else "" */
};

/* Fills *err (which may be NULL) and returns status, so that it can stand in a return statement. */
GDFO_PRINTF(3, 4)
enum gdfo_status gdfo_error_set(struct gdfo_error *err, enum gdfo_status status, const char *fmt,
                                ...);

/* A disk, quota or file limit that takes no further byte: ENOSPC, EDQUOT, EFBIG. */
int gdfo_errno_is_full(int errnum);

/* As gdfo_error_set, with errno's words appended after ": ". status is IO, or FULL for a full disk.
 */
GDFO_PRINTF(3, 4)
enum gdfo_status gdfo_error_errno(struct gdfo_error *err, int errnum, const char *fmt, ...);

/* Puts "words: " in front of the text; returns err's status (STATE when err is NULL). */
GDFO_PRINTF(2, 3)
enum gdfo_status gdfo_error_prefix(struct gdfo_error *err, const char *fmt, ...);

/* Names the culprit and, optionally (NULL to leave), the wire code. */
void gdfo_error_at(struct gdfo_error *err, const char *field, const char *code);

/* Out of memory while doing `what`. */
enum gdfo_status gdfo_error_no_memory(struct gdfo_error *err, const char *what);

#endif
