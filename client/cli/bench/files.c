/* The data of a plan: every file hashed, its rows counted, the test rows looked through. */
#include "client/cli/bench/bench.h"
#include "client/cli/input.h"
#include "client/cli/rows.h"
#include "client/cli/upload.h"
#include "common/rng.h"

#include <string.h>

#define DRAW_SEED 20261123 /* of the test rows: the same rows for every cell; ours */

static size_t count_lines(const struct gdfo_buf *text)
{
    size_t n = 0;
    int is_blank = 1;
    for (size_t i = 0; i < text->len; i++) {
        n += text->data[i] == '\n' && !is_blank;
        is_blank = text->data[i] == '\n' || (is_blank && strchr(" \t\r", text->data[i]));
    }
    return n + !is_blank;
}

/* Every row must be readable and labelled: a test row without a label cannot be scored. */
static enum gdfo_status check_test(const struct gdfo_buf *text, struct gdfo_bench_data *data,
                                   struct gdfo_error *err)
{
    struct gdfo_rows rows = gdfo_rows(text->data ? text->data : "", text->len);
    struct gdfo_buf scratch;
    enum gdfo_status status = GDFO_STATUS_OK;
    int is_end = 0;
    gdfo_buf_init(&scratch, (size_t)1 << 20);
    while (status == GDFO_STATUS_OK && !is_end) {
        struct gdfo_json_writer w;
        struct gdfo_row row;
        gdfo_buf_reset(&scratch);
        w = gdfo_json_writer(&scratch);
        status = gdfo_rows_next(&rows, &w, &row, &is_end, err);
        if (status == GDFO_STATUS_OK && !is_end) {
            data->n_test++;
            if (!row.label[0]) {
                status =
                    gdfo_error_set(err, GDFO_STATUS_INVALID, "line %zu has no label", rows.line);
            }
        }
    }
    gdfo_buf_deinit(&scratch);
    if (status == GDFO_STATUS_OK && data->n_test == 0) {
        status = gdfo_error_set(err, GDFO_STATUS_INVALID, "it holds no row");
    }
    return status;
}

static enum gdfo_status read_one(struct gdfo_bench_data *data, enum gdfo_bench_file which,
                                 const char *path, struct gdfo_error *err)
{
    struct gdfo_buf text;
    enum gdfo_status status = gdfo_upload_sha256(path, data->sha256[which], err);
    gdfo_buf_init(&text, GDFO_ROWS_MAX_BYTES);
    if (status == GDFO_STATUS_OK && which != GDFO_BENCH_DEV) {
        status = gdfo_input_read(path, &text, err);
    }
    if (status == GDFO_STATUS_OK && which == GDFO_BENCH_TRAIN) {
        data->n_train = count_lines(&text);
    } else if (status == GDFO_STATUS_OK && which == GDFO_BENCH_TEST) {
        status = check_test(&text, data, err);
    }
    gdfo_buf_deinit(&text);
    return status;
}

size_t gdfo_bench_files_read(struct gdfo_bench *b, gdfo_bench_fault fault, void *ctx)
{
    static const char *const names[] = {"train", "dev", "test"};
    size_t n_faults = 0;
    for (size_t i = 0; i < b->plan->n_tasks; i++) {
        const struct gdfo_bench_task *t = &b->plan->tasks[i];
        const char *const paths[] = {t->train, t->dev, t->test};
        struct gdfo_bench_data *data = &b->data[i];
        size_t wanted = (size_t)b->plan->n_test_rows;
        for (int k = 0; k < GDFO_BENCH_FILES; k++) {
            struct gdfo_error err = {0};
            char at[64], words[GDFO_ERROR_TEXT_MAX];
            if (paths[k][0] &&
                read_one(data, (enum gdfo_bench_file)k, paths[k], &err) != GDFO_STATUS_OK) {
                (void)snprintf(at, sizeof at, "$.tasks[%zu].%s", i, names[k]);
                (void)snprintf(words, sizeof words, "%.200s: %.280s", paths[k], err.text);
                fault(ctx, at, words);
                n_faults++;
            }
        }
        data->n_asked = wanted > 0 && wanted < data->n_test ? wanted : data->n_test;
        (void)snprintf(data->test, sizeof data->test, "%s/%zu", data->sha256[GDFO_BENCH_TEST],
                       data->n_asked);
    }
    return n_faults;
}

struct gdfo_bench_draw gdfo_bench_draw(const struct gdfo_bench_data *data)
{
    return (struct gdfo_bench_draw){0, data->n_test, data->n_asked};
}

/* Selection sampling (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S). */
int gdfo_bench_draw_next(struct gdfo_bench_draw *d)
{
    struct gdfo_rng rng = gdfo_rng_stream(DRAW_SEED + d->counter++, "test rows");
    int is_taken =
        gdfo_rng_uniform(&rng) * (double)d->n_left < (double)d->n_wanted && d->n_wanted > 0;
    d->n_left -= d->n_left > 0;
    d->n_wanted -= (size_t)is_taken;
    return is_taken;
}
