#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum gdfo_status gdfo_error_set(struct gdfo_error *err, enum gdfo_status status, const char *fmt,
                                ...)
{
    if (err) {
        va_list args;
        err->status = status;
        err->code[0] = '\0';
        err->field[0] = '\0';
        va_start(args, fmt);
        GDFO_IGNORE(vsnprintf(err->text, sizeof err->text, fmt, args));
        va_end(args);
    }
    return status;
}

int gdfo_errno_is_full(int errnum)
{
    return errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG;
}

enum gdfo_status gdfo_error_errno(struct gdfo_error *err, int errnum, const char *fmt, ...)
{
    enum gdfo_status status = GDFO_STATUS_IO;
    if (gdfo_errno_is_full(errnum)) {
        status = GDFO_STATUS_FULL;
    }
    if (err) {
        va_list args;
        char why[128] = "";
        size_t used;
        err->status = status;
        err->code[0] = '\0';
        err->field[0] = '\0';
        va_start(args, fmt);
        GDFO_IGNORE(vsnprintf(err->text, sizeof err->text, fmt, args));
        va_end(args);
        if (strerror_r(errnum, why, sizeof why) != 0) {
            GDFO_IGNORE(snprintf(why, sizeof why, "errno %d", errnum));
        }
        used = strlen(err->text);
        GDFO_IGNORE(snprintf(err->text + used, sizeof err->text - used, ": %s", why));
    }
    return status;
}

enum gdfo_status gdfo_error_prefix(struct gdfo_error *err, const char *fmt, ...)
{
    va_list args;
    char old[GDFO_ERROR_TEXT_MAX];
    size_t used;
    if (!err) {
        return GDFO_STATUS_STATE;
    }
    memcpy(old, err->text, sizeof old);
    va_start(args, fmt);
    GDFO_IGNORE(vsnprintf(err->text, sizeof err->text, fmt, args));
    va_end(args);
    used = strlen(err->text);
    GDFO_IGNORE(
        snprintf(err->text + used, sizeof err->text - used, ": %.*s", (int)(sizeof old - 1), old));
    return err->status;
}

void gdfo_error_at(struct gdfo_error *err, const char *field, const char *code)
{
    if (!err) {
        return;
    }
    if (field) {
        GDFO_IGNORE(snprintf(err->field, sizeof err->field, "%s", field));
    }
    if (code) {
        GDFO_IGNORE(snprintf(err->code, sizeof err->code, "%s", code));
    }
}

enum gdfo_status gdfo_error_no_memory(struct gdfo_error *err, const char *what)
{
    return gdfo_error_set(err, GDFO_STATUS_NO_MEMORY, "out of memory: %s", what);
}
