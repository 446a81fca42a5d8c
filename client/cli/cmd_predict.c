#include "client/cli/input.h"
#include "client/cli/render.h"
#include "client/cli/rows.h"
#include "common/mem.h"

#include <math.h>
#include <string.h>

#define BATCH_ROWS  64
#define BATCH_BYTES ((size_t)512 << 10) /* the daemon takes 1 MiB, one more line may come */
#define BODY_BYTES  ((size_t)1 << 20)

/* A file on its way through the daemon, a batch at a time. */
struct predict {
    struct gdfo_cli *cli;
    const char *model, *variant;
    struct gdfo_buf input, body, data; /* data: the document's rows, for --json */
    struct gdfo_rows rows;
    struct gdfo_row batch[BATCH_ROWS];
    size_t n_batch, n_rows, n_labelled, n_correct, n_truncated;
    double queries, cached, tokens_in, tokens_out;
    char checkpoint[64], precision[16];
    struct gdfo_json_writer w;
};

/* ---- a batch out ---- */

static int fill(struct predict *p, int *is_end)
{
    struct gdfo_json_writer w;
    struct gdfo_error err = {0};
    gdfo_buf_reset(&p->body);
    w = gdfo_json_writer(&p->body);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "model", p->model);
    if (p->variant) {
        gdfo_json_put_str(&w, "variant", p->variant);
    }
    gdfo_json_put_bool(&w, "scores", 1);
    gdfo_json_open(&w, "inputs", '[');
    p->n_batch = 0;
    while (p->n_batch < BATCH_ROWS && p->body.len < BATCH_BYTES && !*is_end) {
        if (gdfo_rows_next(&p->rows, &w, &p->batch[p->n_batch], is_end, &err) != GDFO_STATUS_OK) {
            return gdfo_cli_fail_as(p->cli, GDFO_EXIT_USAGE, "%s", err.text);
        }
        p->n_batch += !*is_end;
    }
    gdfo_json_close(&w, ']');
    gdfo_json_close(&w, '}');
    return gdfo_buf_ok(&p->body) ? 0 : gdfo_cli_fail_as(p->cli, GDFO_EXIT_FAILED, "out of memory");
}

/* ---- a batch back ---- */

/* Probabilities over the labels: exp(lp) normalised, so that they sum to 1 whatever mass the
 * teacher gave to other words. Returns the sum of exp(lp - highest); 0 without scores. */
static double normaliser(const struct gdfo_json *lp, double *highest)
{
    double sum = 0.0, v;
    *highest = -(double)INFINITY;
    for (const struct gdfo_json *m = lp ? gdfo_json_first(lp) : NULL; m; m = gdfo_json_next(m)) {
        if (gdfo_json_number(m, &v) && v > *highest) {
            *highest = v;
        }
    }
    for (const struct gdfo_json *m = lp ? gdfo_json_first(lp) : NULL; m; m = gdfo_json_next(m)) {
        sum += gdfo_json_number(m, &v) ? exp(v - *highest) : 0.0;
    }
    return sum;
}

static void print_row(struct predict *p, const struct gdfo_json *one, const struct gdfo_row *row,
                      const char *label)
{
    FILE *out = p->cli->out;
    const struct gdfo_json *lp = gdfo_cli_at(one, "lp");
    double highest, v, sum;
    int is_first = 1;
    char clean[GDFO_CLI_CELL_BYTES];
    lp = lp && gdfo_json_type(lp) == GDFO_JSON_OBJECT ? lp : NULL;
    sum = normaliser(lp, &highest);
    gdfo_cli_cell(gdfo_cli_at(one, "label"), GDFO_CLI_TEXT, clean);
    (void)fprintf(out, "%s\t", clean);
    for (const struct gdfo_json *m = lp ? gdfo_json_first(lp) : NULL; m; m = gdfo_json_next(m)) {
        (void)snprintf(clean, sizeof clean, "%s", gdfo_json_key(m));
        gdfo_cli_clean(clean);
        v = -(double)INFINITY; /* null: so unlikely that it has no number */
        (void)gdfo_json_number(m, &v);
        (void)fprintf(out, "%s%s=%.3f", is_first ? "" : " ", clean, exp(v - highest) / sum);
        is_first = 0;
    }
    if (row->label[0]) {
        (void)fprintf(out, "\t%s", strcmp(row->label, label) == 0 ? "right" : "wrong");
    }
    (void)fprintf(out, "\t%s\n", row->head);
}

static double plus(double sum, const struct gdfo_json *answer, const char *path)
{
    double v = gdfo_cli_number_at(answer, path);
    return v > 0.0 ? sum + v : sum;
}

static int take(struct predict *p, const struct gdfo_json *answer)
{
    const struct gdfo_json *data = gdfo_cli_at(answer, "data");
    const char *checkpoint = gdfo_cli_text_at(answer, "checkpoint");
    const char *precision = gdfo_cli_text_at(answer, "precision");
    size_t i = 0;
    if (!data || gdfo_json_type(data) != GDFO_JSON_ARRAY || gdfo_json_size(data) != p->n_batch) {
        return gdfo_cli_fail_as(p->cli, GDFO_EXIT_FAILED,
                                "the answer does not hold one prediction for each of %zu rows",
                                p->n_batch);
    }
    if (checkpoint) {
        (void)snprintf(p->checkpoint, sizeof p->checkpoint, "%s", checkpoint);
    }
    if (precision) {
        (void)snprintf(p->precision, sizeof p->precision, "%s", precision);
    }
    for (const struct gdfo_json *one = gdfo_json_first(data); one; one = gdfo_json_next(one), i++) {
        const char *label = gdfo_cli_text_at(one, "label");
        const struct gdfo_row *row = &p->batch[i];
        int is_cut = 0;
        p->n_truncated += gdfo_json_bool(gdfo_cli_at(one, "truncated"), &is_cut) && is_cut;
        if (row->label[0]) {
            p->n_labelled++;
            p->n_correct += label && strcmp(label, row->label) == 0;
        }
        if (p->cli->is_json) {
            gdfo_json_put_node(&p->w, NULL, one);
        } else {
            print_row(p, one, row, label ? label : "");
        }
    }
    p->n_rows += p->n_batch;
    p->queries = plus(p->queries, answer, "usage.queries");
    p->cached = plus(p->cached, answer, "usage.cached");
    p->tokens_in = plus(p->tokens_in, answer, "usage.tokens_in");
    p->tokens_out = plus(p->tokens_out, answer, "usage.tokens_out");
    return 0;
}

static int send(struct predict *p)
{
    struct gdfo_error err = {0};
    struct gdfo_json *answer = NULL;
    struct gdfo_cli *cli = p->cli;
    int code = gdfo_cli_check_json(
        cli, gdfo_client_predict(cli->client, p->body.data, &cli->reply, &err), &answer, &err);
    if (!code) {
        code = take(p, answer);
    }
    gdfo_json_destroy(answer);
    return code;
}

/* ---- the end ---- */

static int print_document(struct predict *p)
{
    struct gdfo_buf b;
    struct gdfo_json_writer w;
    int is_ok;
    gdfo_json_close(&p->w, ']');
    gdfo_buf_init(&b, GDFO_REPLY_MAX_BYTES * 2);
    w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "prediction_list");
    gdfo_json_put_str(&w, "model", p->model);
    gdfo_json_put_str(&w, "checkpoint", p->checkpoint[0] ? p->checkpoint : NULL);
    gdfo_json_put_str(&w, "variant", p->variant ? p->variant : "tuned");
    gdfo_json_put_str(&w, "precision", p->precision[0] ? p->precision : NULL);
    gdfo_json_put_int(&w, "labelled", (int64_t)p->n_labelled);
    gdfo_json_put_int(&w, "correct", (int64_t)p->n_correct);
    if (p->n_labelled) {
        gdfo_json_put_num(&w, "accuracy", (double)p->n_correct / (double)p->n_labelled);
    } else {
        gdfo_json_put_null(&w, "accuracy");
    }
    gdfo_json_open(&w, "usage", '{');
    gdfo_json_put_int(&w, "queries", (int64_t)p->queries);
    gdfo_json_put_int(&w, "cached", (int64_t)p->cached);
    gdfo_json_put_int(&w, "tokens_in", (int64_t)p->tokens_in);
    gdfo_json_put_int(&w, "tokens_out", (int64_t)p->tokens_out);
    gdfo_json_close(&w, '}');
    gdfo_json_put_raw(&w, "data", gdfo_buf_ok(&p->data) ? p->data.data : "[]");
    gdfo_json_close(&w, '}');
    is_ok = gdfo_buf_ok(&b) && gdfo_buf_ok(&p->data);
    if (is_ok) {
        (void)fprintf(p->cli->out, "%s\n", b.data);
    }
    gdfo_buf_deinit(&b);
    return is_ok ? 0 : gdfo_cli_fail_as(p->cli, GDFO_EXIT_FAILED, "out of memory");
}

static int finish(struct predict *p)
{
    if (p->cli->is_json) {
        return print_document(p);
    }
    (void)fflush(p->cli->out);
    if (p->n_labelled) {
        (void)fprintf(p->cli->err, "accuracy %.4f (%zu of %zu)\n",
                      (double)p->n_correct / (double)p->n_labelled, p->n_correct, p->n_labelled);
    }
    if (p->n_truncated) {
        (void)fprintf(p->cli->err,
                      "%zu texts were cut to the teacher's context; --json says which\n",
                      p->n_truncated);
    }
    (void)fprintf(p->cli->err, "%zu texts, %.0f queries, %.0f tokens\n", p->n_rows, p->queries,
                  p->tokens_in + p->tokens_out);
    return 0;
}

static int label_all(struct predict *p)
{
    int code = 0, is_end = 0;
    p->rows = gdfo_rows(p->input.data ? p->input.data : "", p->input.len);
    while (!code && !is_end) {
        code = fill(p, &is_end);
        if (!code && p->n_batch > 0) {
            code = send(p);
        }
    }
    if (!code && p->n_rows == 0) {
        return gdfo_cli_fail_as(p->cli, GDFO_EXIT_USAGE,
                                "there is no text to label: want a text or a JSON object a line");
    }
    return code ? code : finish(p);
}

static int is_variant(const char *s)
{
    static const char *const all[] = {"tuned",  "tuned_alone", "tuned_no_head",
                                      "manual", "calibrated",  "student"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i], s) == 0) {
            return 1;
        }
    }
    return 0;
}

static int predict_input(struct predict *p)
{
    struct gdfo_error err = {0};
    const char *path = p->cli->args.n_words > 1 ? p->cli->args.words[1] : "-";
    if (p->variant && !is_variant(p->variant)) {
        return gdfo_cli_fail_as(
            p->cli, GDFO_EXIT_USAGE,
            "--variant is \"%.40s\"; want tuned, tuned_alone, tuned_no_head, manual, "
            "calibrated or student",
            p->variant);
    }
    if (gdfo_input_read(path, &p->input, &err) != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(p->cli, GDFO_EXIT_USAGE, "%s", err.text);
    }
    gdfo_json_open(&p->w, NULL, '[');
    return label_all(p);
}

static int run(struct gdfo_cli *cli)
{
    struct predict *p = gdfo_mem_array(1, sizeof *p);
    int code;
    if (!p) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_FAILED, "out of memory");
    }
    p->cli = cli;
    p->model = cli->args.words[0];
    p->variant = gdfo_cli_args_get(&cli->args, "variant");
    gdfo_buf_init(&p->input, GDFO_ROWS_MAX_BYTES);
    gdfo_buf_init(&p->body, BODY_BYTES);
    gdfo_buf_init(&p->data, GDFO_REPLY_MAX_BYTES);
    p->w = gdfo_json_writer(&p->data);
    code = predict_input(p);
    gdfo_buf_deinit(&p->input);
    gdfo_buf_deinit(&p->body);
    gdfo_buf_deinit(&p->data);
    gdfo_mem_free(p);
    return code;
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION,
    {"variant", 0, GDFO_CLI_VALUE, "V",
     "tuned (default), tuned_alone, tuned_no_head, manual, calibrated, student: what to "
     "compare"},
    {0}};

const struct gdfo_cli_command gdfo_cmd_predict = {
    .words = "predict",
    .usage = "MODEL [FILE|-] [--variant V]",
    .min_words = 1,
    .max_words = 2,
    .options = options,
    .help = "label texts with a tuned prompt, with probabilities",
    .about =
        "MODEL is a tuned model (gdfo:...), a job or a checkpoint. FILE holds a text a line, or\n"
        "JSONL with text (or text_a, text_b); where rows carry a label, the accuracy is told.",
    .run = run,
};
