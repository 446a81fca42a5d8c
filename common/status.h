#ifndef GDFO_COMMON_STATUS_H
#define GDFO_COMMON_STATUS_H

/*
 * What a fallible function returns. Every constant has one row in status.c: its name, whether
 * trying again may help, and the HTTP status and error code it becomes at the REST edge.
 */
enum gdfo_status {
    GDFO_STATUS_OK = 0,
    GDFO_STATUS_INVALID,     /* an argument or an input is wrong; the text says which and what is
                                accepted */
    GDFO_STATUS_FORMAT,      /* bytes from outside do not follow their format */
    GDFO_STATUS_NOT_FOUND,   /* a named thing does not exist */
    GDFO_STATUS_CONFLICT,    /* the thing exists but its state forbids this */
    GDFO_STATUS_STATE,       /* a call out of order (tell before ask) */
    GDFO_STATUS_UNSUPPORTED, /* right, but this build or this teacher cannot */
    GDFO_STATUS_LIMIT,       /* past a stated ceiling */
    GDFO_STATUS_BUDGET,      /* a budget cap does not allow it */
    GDFO_STATUS_NO_MEMORY,
    GDFO_STATUS_IO,        /* the operating system refused: the text has errno's words */
    GDFO_STATUS_FULL,      /* no space left on device, or SQLITE_FULL */
    GDFO_STATUS_BUSY,      /* in use by someone else */
    GDFO_STATUS_CANCELLED, /* stopped because the caller asked */
    GDFO_STATUS_CORRUPT,   /* our own stored bytes fail their checksum */
    GDFO_STATUS_UPSTREAM,  /* a teacher failed or answered nonsense */
    GDFO_STATUS_END        /* number of constants; never returned */
};

#define GDFO_MUST_USE  __attribute__((warn_unused_result))
#define GDFO_IGNORE(x) ((void)!(x)) /* a failure that may be ignored says so */

const char *gdfo_status_name(enum gdfo_status status); /* "invalid"; static storage */
int gdfo_status_http(enum gdfo_status status);         /* 400, 404, ...; 200 for OK */
const char *gdfo_status_code(enum gdfo_status status); /* "invalid_value": the wire's closed list */
int gdfo_status_is_transient(enum gdfo_status status); /* 1 when trying again may help */

#endif
