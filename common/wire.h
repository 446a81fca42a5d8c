#ifndef GDFO_COMMON_WIRE_H
#define GDFO_COMMON_WIRE_H

/*
 * The words of the REST contract that daemon and client share: the closed list of error codes
 * (service.md 1.2), each with its HTTP status and what a client may do about it. Any thread.
 */
struct gdfo_wire_code {
    const char *code;  /* "invalid_value" */
    const char *title; /* "Invalid value" */
    const char *type;  /* "invalid_request_error", as the official clients know it */
    int http;          /* 400 */
    int may_retry;     /* 1: the same request may succeed later; x-should-retry says so */
};

/* NULL when the code is not in the list. */
const struct gdfo_wire_code *gdfo_wire_find(const char *code);

/* The whole list, in the order of the contract; NULL past its end. */
const struct gdfo_wire_code *gdfo_wire_at(unsigned index);

#define GDFO_WIRE_RETRY_AFTER_S 5 /* of a 503: two retries of a client ride over a restart */

#endif
