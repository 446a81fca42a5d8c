#include "common/wire.h"

#include <stddef.h>
#include <string.h>

#define REQUEST "invalid_request_error"
#define SERVER  "server_error"

static const struct gdfo_wire_code codes[] = {
    {"invalid_json", "Invalid JSON", REQUEST, 400, 0},
    {"unknown_field", "Unknown field", REQUEST, 400, 0},
    {"missing_field", "Missing field", REQUEST, 400, 0},
    {"invalid_value", "Invalid value", REQUEST, 400, 0},
    {"bad_framing", "Bad framing", REQUEST, 400, 0},
    {"unauthorized", "Unauthorized", "authentication_error", 401, 0},
    {"forbidden", "Forbidden", "permission_error", 403, 0},
    {"budget_insufficient", "Budget insufficient", "budget_error", 402, 0},
    {"not_found", "Not found", REQUEST, 404, 0},
    {"method_not_allowed", "Method not allowed", REQUEST, 405, 0},
    {"request_timeout", "Request timeout", REQUEST, 408, 1},
    {"body_too_large", "Body too large", REQUEST, 413, 0},
    {"uri_too_long", "URI too long", REQUEST, 414, 0},
    {"unsupported_media_type", "Unsupported media type", REQUEST, 415, 0},
    {"range_not_satisfiable", "Range not satisfiable", REQUEST, 416, 0},
    {"headers_too_large", "Headers too large", REQUEST, 431, 0},
    {"invalid_transition", "Invalid transition", REQUEST, 409, 0},
    {"estimate_stale", "Estimate stale", REQUEST, 409, 0},
    {"file_in_use", "File in use", REQUEST, 409, 0},
    {"idempotency_in_flight", "Request in flight", REQUEST, 409, 1},
    {"name_taken", "Name taken", REQUEST, 409, 0},
    {"rev_mismatch", "Revision mismatch", REQUEST, 412, 0},
    {"idempotency_key_reused", "Idempotency key reused", REQUEST, 422, 0},
    {"not_supported", "Not supported", REQUEST, 422, 0},
    {"teacher_address_forbidden", "Teacher address forbidden", REQUEST, 422, 0},
    {"teacher_rejected", "Teacher rejected", REQUEST, 422, 0},
    {"rate_limited", "Rate limited", "rate_limit_error", 429, 1},
    {"internal_error", "Internal error", SERVER, 500, 0},
    {"draining", "Draining", SERVER, 503, 1},
    {"storage_full", "Storage full", SERVER, 503, 1},
    {"overloaded", "Overloaded", SERVER, 503, 1},
    {"teacher_unavailable", "Teacher unavailable", SERVER, 503, 1},
};

const struct gdfo_wire_code *gdfo_wire_at(unsigned index)
{
    return index < sizeof codes / sizeof *codes ? &codes[index] : NULL;
}

const struct gdfo_wire_code *gdfo_wire_find(const char *code)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (strcmp(codes[i].code, code) == 0) {
            return &codes[i];
        }
    }
    return NULL;
}
