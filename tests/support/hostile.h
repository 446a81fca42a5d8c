#ifndef GDFO_TESTS_SUPPORT_HOSTILE_H
#define GDFO_TESTS_SUPPORT_HOSTILE_H

#include <stddef.h>

/*
 * A server that misbehaves to a script: request number k gets step k, whatever connection it came
 * on; the last step serves all that follow. Raw sockets on 127.0.0.1 and threads of its own, so
 * that every byte is the test's. It counts, so that no test needs to look at a watch.
 */
struct gdfo_hostile;

enum gdfo_hostile_act {
    GDFO_HOSTILE_ANSWER, /* the bytes; the connection stays */
    GDFO_HOSTILE_CLOSE,  /* the bytes, then an orderly end; without bytes: a silent end */
    GDFO_HOSTILE_RESET,  /* the bytes, then RST */
    GDFO_HOSTILE_HANG,   /* the bytes, then nothing until the client goes */
    GDFO_HOSTILE_DRIP,   /* the bytes, then one every few milliseconds until the client goes */
    GDFO_HOSTILE_FLOOD,  /* the bytes, then 100 MB or until the client goes */
    GDFO_HOSTILE_GATHER  /* GDFO_HOSTILE_OK once n requests have come in all */
};

struct gdfo_hostile_step {
    enum gdfo_hostile_act act;
    const char *bytes; /* NULL: none */
    size_t n;          /* 0: to the NUL */
};

/* A whole answer with its Content-Length. */
#define GDFO_HOSTILE_OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* steps: copied; their bytes are borrowed until stop. Fails the test when there is no socket. */
struct gdfo_hostile *gdfo_hostile_start(const struct gdfo_hostile_step *steps, size_t n_steps);
/* A port that refuses connections until it is given to start_at, which takes it over. */
int gdfo_hostile_reserve(unsigned *port);
struct gdfo_hostile *gdfo_hostile_start_at(int fd, const struct gdfo_hostile_step *steps,
                                           size_t n_steps);
void gdfo_hostile_stop(struct gdfo_hostile *h);             /* NULL is fine */
const char *gdfo_hostile_url(const struct gdfo_hostile *h); /* "http://127.0.0.1:PORT" */
unsigned gdfo_hostile_port(const struct gdfo_hostile *h);

size_t gdfo_hostile_n_requests(struct gdfo_hostile *h);
size_t gdfo_hostile_n_connections(struct gdfo_hostile *h);
/* The k-th request, head and body, cut to cap - 1. */
void gdfo_hostile_request(struct gdfo_hostile *h, size_t k, char *out, size_t cap);

#endif
