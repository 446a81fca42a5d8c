/* The test file under one variant of a tuned prompt: asked once, kept in predictions/, scored. */
#include "client/cli/bench/score.h"

#include "client/cli/bench/wire.h"
#include "client/cli/input.h"
#include "client/cli/render.h"
#include "client/cli/rows.h"
#include "common/file.h"
#include "common/json_write.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define BATCH_ROWS     64
#define BATCH_BYTES    ((size_t)512 << 10) /* the daemon takes 1 MiB, one more line may come */
#define BODY_BYTES     ((size_t)1 << 20)
#define FILE_MAX_BYTES ((size_t)1 << 30)

/* A true label with less probability than this counts as having it, so that one row cannot make a
 * mean infinite; ours. */
#define PROBABILITY_FLOOR 1e-12

struct asking {
    struct gdfo_bench *b;
    const char *key, *job, *variant;
    struct gdfo_buf input, body, out; /* out: the predictions file */
    struct gdfo_rows rows;
    struct gdfo_bench_draw draw;
    char labels[BATCH_ROWS][GDFO_ROW_LABEL_BYTES];
    size_t n_batch;
    char why[GDFO_BENCH_WHY_BYTES]; /* a refusal */
};

/* ---- scoring ---- */

/* -log of the label's probability among the labels. */
static double loss_of(const struct gdfo_json *lp, const char *label)
{
    double sum = 0.0, highest = -(double)INFINITY, v, at;
    for (const struct gdfo_json *m = lp ? gdfo_json_first(lp) : NULL; m; m = gdfo_json_next(m)) {
        highest = gdfo_json_number(m, &v) && v > highest ? v : highest;
    }
    for (const struct gdfo_json *m = lp ? gdfo_json_first(lp) : NULL; m; m = gdfo_json_next(m)) {
        sum += gdfo_json_number(m, &v) ? exp(v - highest) : 0.0;
    }
    at = (double)NAN;
    if (lp && gdfo_json_get(lp, label)) {
        (void)gdfo_json_number(gdfo_json_get(lp, label), &at);
    }
    at = isfinite(at) && sum > 0.0 ? at - highest - log(sum) : -(double)INFINITY;
    return at > log(PROBABILITY_FLOOR) ? -at : -log(PROBABILITY_FLOOR);
}

static void score_line(const char *line, size_t n, struct gdfo_bench_score *out, double *loss,
                       size_t *n_right)
{
    struct gdfo_json *row = NULL;
    const char *label, *predicted;
    if (n == 0 || gdfo_json_parse(&row, line, n, NULL, NULL) != GDFO_STATUS_OK) {
        return;
    }
    label = gdfo_cli_text_at(row, "label");
    predicted = gdfo_cli_text_at(row, "predicted");
    if (label && predicted) {
        const struct gdfo_json *lp = gdfo_json_get(row, "lp");
        out->n++;
        *n_right += strcmp(label, predicted) == 0;
        *loss += loss_of(lp && gdfo_json_type(lp) == GDFO_JSON_OBJECT ? lp : NULL, label);
    }
    gdfo_json_destroy(row);
}

void gdfo_bench_score_lines(const char *text, size_t n, struct gdfo_bench_score *out)
{
    const char *end = text + n;
    double loss = 0.0;
    size_t n_right = 0;
    out->n = 0;
    for (const char *line = text; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        if (line != text) { /* the header */
            score_line(line, (size_t)(stop - line), out, &loss, &n_right);
        }
        line = stop + 1;
    }
    out->accuracy = out->n ? (double)n_right / (double)out->n : (double)NAN;
    out->loss = out->n ? loss / (double)out->n : (double)NAN;
}

/* ---- asking ---- */

static int fill(struct asking *a, int *is_end)
{
    struct gdfo_json_writer w;
    struct gdfo_error err = {0};
    gdfo_buf_reset(&a->body);
    w = gdfo_json_writer(&a->body);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "model", a->job);
    gdfo_json_put_str(&w, "variant", a->variant);
    gdfo_json_put_bool(&w, "scores", 1);
    gdfo_json_open(&w, "inputs", '[');
    for (a->n_batch = 0; a->n_batch < BATCH_ROWS && a->body.len < BATCH_BYTES && !*is_end;) {
        struct gdfo_json_writer before = w;
        size_t len = a->body.len;
        struct gdfo_row row;
        if (gdfo_rows_next(&a->rows, &w, &row, is_end, &err) != GDFO_STATUS_OK) {
            return gdfo_cli_fail_as(a->b->cli, GDFO_EXIT_FAILED, "the test file: %s", err.text);
        }
        if (!*is_end && gdfo_bench_draw_next(&a->draw)) {
            memcpy(a->labels[a->n_batch++], row.label, sizeof row.label);
        } else if (!*is_end) { /* a row that was not drawn is taken out again */
            a->body.len = len;
            w = before;
        }
    }
    gdfo_json_close(&w, ']');
    gdfo_json_close(&w, '}');
    return gdfo_buf_ok(&a->body) ? 0
                                 : gdfo_cli_fail_as(a->b->cli, GDFO_EXIT_FAILED, "out of memory");
}

static int take(struct asking *a, const struct gdfo_json *answer)
{
    const struct gdfo_json *data = gdfo_cli_at(answer, "data");
    size_t i = 0;
    if (!data || gdfo_json_type(data) != GDFO_JSON_ARRAY || gdfo_json_size(data) != a->n_batch) {
        return gdfo_cli_fail_as(a->b->cli, GDFO_EXIT_FAILED,
                                "the answer does not hold one prediction for each of %zu rows",
                                a->n_batch);
    }
    for (const struct gdfo_json *one = gdfo_json_first(data); one; one = gdfo_json_next(one), i++) {
        struct gdfo_json_writer w = gdfo_json_writer(&a->out);
        const struct gdfo_json *lp = gdfo_json_get(one, "lp");
        gdfo_json_open(&w, NULL, '{');
        gdfo_json_put_str(&w, "label", a->labels[i]);
        gdfo_json_put_str(&w, "predicted", gdfo_cli_text_at(one, "label"));
        if (lp) {
            gdfo_json_put_node(&w, "lp", lp);
        }
        gdfo_json_close(&w, '}');
        gdfo_buf_addc(&a->out, '\n');
    }
    return 0;
}

static int send_batch(struct asking *a)
{
    struct gdfo_cli *cli = a->b->cli;
    struct gdfo_error err = {0};
    struct gdfo_json *answer = NULL;
    const struct gdfo_request request = {
        .method = "POST", .path = "/v1/predict", .body = a->body.data, .n_body = a->body.len};
    enum gdfo_bench_sent sent = gdfo_bench_send(a->b, &request, 0, &err);
    int code;
    if (sent != GDFO_BENCH_SENT) {
        return err.status == GDFO_STATUS_CANCELLED ? GDFO_EXIT_INTERRUPTED
                                                   : gdfo_cli_fail(cli, &err);
    }
    if (cli->reply.http >= 300) {
        gdfo_bench_refusal(a->b, a->why, sizeof a->why);
        return 0;
    }
    code = gdfo_cli_check_json(cli, GDFO_STATUS_OK, &answer, &err);
    code = code ? code : take(a, answer);
    gdfo_json_destroy(answer);
    return code;
}

/* The header says what the lines were made from; another header, and they are asked anew. */
static void put_header(struct gdfo_buf *out, const struct asking *a, const char *sha256, size_t n)
{
    struct gdfo_json_writer w = gdfo_json_writer(out);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "gdfo.bench.predictions");
    gdfo_json_put_str(&w, "key", a->key);
    gdfo_json_put_str(&w, "job", a->job);
    gdfo_json_put_str(&w, "variant", a->variant);
    gdfo_json_put_str(&w, "test_sha256", sha256);
    gdfo_json_put_int(&w, "rows", (int64_t)n);
    gdfo_json_close(&w, '}');
    gdfo_buf_addc(out, '\n');
}

static int ask_all(struct asking *a, const struct gdfo_bench_cell *c)
{
    struct gdfo_error err = {0};
    int code = 0, is_end = 0;
    if (gdfo_input_read(a->b->plan->tasks[c->task].test, &a->input, &err) != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(a->b->cli, GDFO_EXIT_FAILED, "%s", err.text);
    }
    a->rows = gdfo_rows(a->input.data ? a->input.data : "", a->input.len);
    a->draw = gdfo_bench_draw(&a->b->data[c->task]);
    while (!code && !is_end && !a->why[0]) {
        code = fill(a, &is_end);
        if (!code && a->n_batch > 0) {
            code = send_batch(a);
        }
    }
    return code;
}

/* predictions/KEY.VARIANT.jsonl, the key's slashes as commas (no name holds one). */
static int path_of(const struct asking *a, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/predictions/%s.%s.jsonl", a->b->folder, a->key, a->variant);
    if (n < 0 || (size_t)n >= size) {
        return 0;
    }
    for (char *p = out + strlen(a->b->folder) + strlen("/predictions/"); *p; p++) {
        *p = *p == '/' ? ',' : *p;
    }
    return 1;
}

/* 1 when path holds what would be asked now, and out has it. */
static int is_kept(struct asking *a, const char *path, const struct gdfo_buf *header)
{
    if (access(path, R_OK) != 0 || gdfo_file_read(path, &a->out, NULL) != GDFO_STATUS_OK ||
        a->out.len < header->len || memcmp(a->out.data, header->data, header->len) != 0) {
        gdfo_buf_reset(&a->out);
        return 0;
    }
    return 1;
}

static int ask_or_read(struct asking *a, const struct gdfo_bench_cell *c)
{
    const struct gdfo_bench_data *data = &a->b->data[c->task];
    char path[GDFO_BENCH_PATH_BYTES + GDFO_BENCH_KEY_BYTES + 64];
    struct gdfo_error err = {0};
    struct gdfo_buf header;
    int code = 0;
    gdfo_buf_init(&header, 4096);
    put_header(&header, a, data->sha256[GDFO_BENCH_TEST], data->n_asked);
    if (!path_of(a, path, sizeof path) || !gdfo_buf_ok(&header)) {
        code = gdfo_cli_fail_as(a->b->cli, GDFO_EXIT_USAGE, "the folder's name is too long");
    } else if (!is_kept(a, path, &header)) {
        gdfo_buf_addn(&a->out, header.data, header.len);
        code = ask_all(a, c);
        if (!code && !a->why[0] &&
            gdfo_file_write(path, gdfo_buf_ok(&a->out) ? a->out.data : "", a->out.len, &err) !=
                GDFO_STATUS_OK) {
            code = gdfo_cli_fail_as(a->b->cli, GDFO_EXIT_FAILED, "%s", err.text);
        }
    }
    gdfo_buf_deinit(&header);
    return code;
}

int gdfo_bench_score(struct gdfo_bench *b, const struct gdfo_bench_cell *c, const char *key,
                     const char *job, const char *variant, struct gdfo_bench_score *out)
{
    struct asking a = {.b = b, .key = key, .job = job, .variant = variant};
    int code;
    *out = (struct gdfo_bench_score){.accuracy = (double)NAN, .loss = (double)NAN};
    (void)snprintf(out->variant, sizeof out->variant, "%s", variant);
    (void)snprintf(out->test, sizeof out->test, "%s", b->data[c->task].test);
    gdfo_buf_init(&a.input, GDFO_ROWS_MAX_BYTES);
    gdfo_buf_init(&a.body, BODY_BYTES);
    gdfo_buf_init(&a.out, FILE_MAX_BYTES);
    code = ask_or_read(&a, c);
    if (!code && !a.why[0] && gdfo_buf_ok(&a.out)) {
        gdfo_bench_score_lines(a.out.data, a.out.len, out);
    }
    (void)snprintf(out->why, sizeof out->why, "%s", a.why);
    gdfo_buf_deinit(&a.input);
    gdfo_buf_deinit(&a.body);
    gdfo_buf_deinit(&a.out);
    return code;
}
