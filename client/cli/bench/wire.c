#include "client/cli/bench/wire.h"

#include "common/clk.h"

#include <string.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS   5000
#define PATIENCE_MS      (10 * 60 * 1000)

/* A batch on a large model, beside jobs, takes its time; everything else is answered at once. */
#define PREDICT_TIMEOUT_MS (60 * 60 * 1000)

static int is_away(const struct gdfo_bench *b, enum gdfo_status status,
                   const struct gdfo_error *err)
{
    return (status == GDFO_STATUS_IO && strcmp(err->code, "unreachable") == 0) ||
           (status == GDFO_STATUS_OK && (b->cli->reply.http == 502 || b->cli->reply.http == 503));
}

static enum gdfo_bench_sent send_once(struct gdfo_bench *b, const struct gdfo_request *request,
                                      struct gdfo_error *err)
{
    struct gdfo_request r = *request;
    enum gdfo_status status;
    r.timeout_ms = strcmp(r.path, "/v1/predict") == 0 ? PREDICT_TIMEOUT_MS : 0;
    *err = (struct gdfo_error){0};
    status = gdfo_client_send(b->cli->client, &r, &b->cli->reply, err);
    if (is_away(b, status, err) && b->is_connected) {
        if (status == GDFO_STATUS_OK) {
            GDFO_IGNORE(gdfo_reply_error(&b->cli->reply, err));
        }
        return GDFO_BENCH_LOST;
    }
    if (status != GDFO_STATUS_OK) {
        return GDFO_BENCH_OVER;
    }
    b->is_connected = 1;
    return GDFO_BENCH_SENT;
}

enum gdfo_bench_sent gdfo_bench_send(struct gdfo_bench *b, const struct gdfo_request *request,
                                     int is_once, struct gdfo_error *err)
{
    int64_t since = gdfo_clk_monotonic_ms(gdfo_clk_system()), backoff = BACKOFF_FIRST_MS;
    int is_told = 0;
    for (;;) {
        enum gdfo_bench_sent sent = send_once(b, request, err);
        if (gdfo_cli_is_interrupted(b->cli)) {
            (void)gdfo_error_set(err, GDFO_STATUS_CANCELLED, "interrupted");
            return GDFO_BENCH_OVER;
        }
        if (sent != GDFO_BENCH_LOST) {
            if (is_told) {
                (void)fprintf(b->cli->err, "connected again\n");
            }
            return sent;
        }
        if (is_once || gdfo_clk_monotonic_ms(gdfo_clk_system()) - since > PATIENCE_MS) {
            return is_once ? GDFO_BENCH_LOST : GDFO_BENCH_OVER;
        }
        if (!is_told) {
            (void)fprintf(b->cli->err, "connection lost (%s); trying again\n", err->text);
            is_told = 1;
        }
        (void)gdfo_clk_sleep(backoff, b->cli->cancel);
        backoff = backoff * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : backoff * 2;
    }
}

int gdfo_bench_get(struct gdfo_bench *b, const char *path, struct gdfo_json **out)
{
    struct gdfo_error err = {0};
    const struct gdfo_request request = {.method = "GET", .path = path};
    enum gdfo_bench_sent sent = gdfo_bench_send(b, &request, 0, &err);
    if (sent != GDFO_BENCH_SENT && err.status == GDFO_STATUS_CANCELLED) {
        return GDFO_EXIT_INTERRUPTED; /* told by the command, once */
    }
    return gdfo_cli_check_json(b->cli, sent == GDFO_BENCH_SENT ? GDFO_STATUS_OK : err.status, out,
                               &err);
}

void gdfo_bench_refusal(const struct gdfo_bench *b, char *out, size_t size)
{
    struct gdfo_error err = {0};
    GDFO_IGNORE(gdfo_reply_error(&b->cli->reply, &err));
    (void)snprintf(out, size, "%d %.40s: %.180s%s%.60s", b->cli->reply.http, err.code, err.text,
                   err.field[0] ? " at " : "", err.field);
}
