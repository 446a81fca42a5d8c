#include "common/wire.h"

#include <stddef.h>
#include <string.h>

#define REQUEST "invalid_request_error"
#define SERVER  "server_error"

static const struct gdfo_wire_code codes[] = {
    {"invalid_json", 400, "Invalid JSON", REQUEST, 0},
    {"unknown_field", 400, "Unknown field", REQUEST, 0},
    {"missing_field", 400, "Missing field", REQUEST, 0},
    {"invalid_value", 400, "Invalid value", REQUEST, 0},
    {"bad_framing", 400, "Bad framing", REQUEST, 0},
    {"unauthorized", 401, "Unauthorized", "authentication_error", 0},
    {"forbidden", 403, "Forbidden", "permission_error", 0},
    {"budget_insufficient", 402, "Budget insufficient", "budget_error", 0},
    {"not_found", 404, "Not found", REQUEST, 0},
    {"method_not_allowed", 405, "Method not allowed", REQUEST, 0},
    {"request_timeout", 408, "Request timeout", REQUEST, 1},
    {"body_too_large", 413, "Body too large", REQUEST, 0},
    {"uri_too_long", 414, "URI too long", REQUEST, 0},
    {"unsupported_media_type", 415, "Unsupported media type", REQUEST, 0},
    {"range_not_satisfiable", 416, "Range not satisfiable", REQUEST, 0},
    {"headers_too_large", 431, "Headers too large", REQUEST, 0},
    {"invalid_transition", 409, "Invalid transition", REQUEST, 0},
    {"estimate_stale", 409, "Estimate stale", REQUEST, 0},
    {"file_in_use", 409, "File in use", REQUEST, 0},
    {"idempotency_in_flight", 409, "Request in flight", REQUEST, 1},
    {"name_taken", 409, "Name taken", REQUEST, 0},
    {"rev_mismatch", 412, "Revision mismatch", REQUEST, 0},
    {"idempotency_key_reused", 422, "Idempotency key reused", REQUEST, 0},
    {"not_supported", 422, "Not supported", REQUEST, 0},
    {"teacher_address_forbidden", 422, "Teacher address forbidden", REQUEST, 0},
    {"teacher_rejected", 422, "Teacher rejected", REQUEST, 0},
    {"rate_limited", 429, "Rate limited", "rate_limit_error", 1},
    {"internal_error", 500, "Internal error", SERVER, 0},
    {"draining", 503, "Draining", SERVER, 1},
    {"storage_full", 503, "Storage full", SERVER, 1},
    {"overloaded", 503, "Overloaded", SERVER, 1},
    {"teacher_unavailable", 503, "Teacher unavailable", SERVER, 1},
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
