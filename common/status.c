#include "common/status.h"

#include <stddef.h>

struct row {
    const char *name;
    int http;
    const char *code;
    int is_transient;
};

static const struct row table[GDFO_STATUS_END] = {
    [GDFO_STATUS_OK] = {"ok", 200, "ok", 0},
    [GDFO_STATUS_INVALID] = {"invalid", 400, "invalid_value", 0},
    [GDFO_STATUS_FORMAT] = {"format", 400, "invalid_value", 0},
    [GDFO_STATUS_NOT_FOUND] = {"not_found", 404, "not_found", 0},
    [GDFO_STATUS_CONFLICT] = {"conflict", 409, "invalid_transition", 0},
    [GDFO_STATUS_STATE] = {"state", 500, "internal_error", 0},
    [GDFO_STATUS_UNSUPPORTED] = {"unsupported", 422, "not_supported", 0},
    [GDFO_STATUS_LIMIT] = {"limit", 413, "body_too_large", 0},
    [GDFO_STATUS_BUDGET] = {"budget", 402, "budget_insufficient", 0},
    [GDFO_STATUS_NO_MEMORY] = {"no_memory", 503, "overloaded", 1},
    [GDFO_STATUS_IO] = {"io", 500, "internal_error", 0},
    [GDFO_STATUS_FULL] = {"full", 503, "storage_full", 1},
    [GDFO_STATUS_BUSY] = {"busy", 503, "overloaded", 1},
    [GDFO_STATUS_CANCELLED] = {"cancelled", 503, "draining", 1},
    [GDFO_STATUS_CORRUPT] = {"corrupt", 500, "internal_error", 0},
    [GDFO_STATUS_UPSTREAM] = {"upstream", 503, "teacher_unavailable", 1},
};

static const struct row *row_of(enum gdfo_status status)
{
    return (size_t)status < GDFO_STATUS_END ? &table[status] : &table[GDFO_STATUS_STATE];
}

const char *gdfo_status_name(enum gdfo_status status)
{
    return row_of(status)->name;
}

int gdfo_status_http(enum gdfo_status status)
{
    return row_of(status)->http;
}

const char *gdfo_status_code(enum gdfo_status status)
{
    return row_of(status)->code;
}

int gdfo_status_is_transient(enum gdfo_status status)
{
    return row_of(status)->is_transient;
}
