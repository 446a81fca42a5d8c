/* One cell as a job: its body, and the digest by which it is known again. */
#include "client/cli/bench/bench.h"
#include "client/cli/spec.h"
#include "common/hash.h"
#include "common/json_write.h"

#include <string.h>

/* The task's members, but those that the method has too: the method's stand instead. */
static void put_task(struct gdfo_json_writer *w, const struct gdfo_json *task,
                     const struct gdfo_json *over)
{
    gdfo_json_open(w, "task", '{');
    for (const struct gdfo_json *m = task ? gdfo_json_first(task) : NULL; m;
         m = gdfo_json_next(m)) {
        if (!over || !gdfo_json_get(over, gdfo_json_key(m))) {
            gdfo_json_put_node(w, gdfo_json_key(m), m);
        }
    }
    for (const struct gdfo_json *m = over ? gdfo_json_first(over) : NULL; m;
         m = gdfo_json_next(m)) {
        gdfo_json_put_node(w, gdfo_json_key(m), m);
    }
    gdfo_json_close(w, '}');
}

static void put_method(struct gdfo_json_writer *w, const struct gdfo_bench_plan *p,
                       const struct gdfo_bench_cell *c)
{
    const struct gdfo_bench_method *m = &p->methods[c->method];
    gdfo_json_open(w, "method", '{');
    gdfo_json_put_str(w, "type", m->type);
    gdfo_json_open(w, m->type, '{');
    put_task(w, p->tasks[c->task].task, m->task);
    gdfo_json_open(w, "budget", '{');
    gdfo_json_put_int(w, "evals", p->budgets[c->budget]);
    gdfo_json_close(w, '}');
    if (m->hyperparameters) {
        gdfo_json_put_node(w, "hyperparameters", m->hyperparameters);
    }
    for (const struct gdfo_json *o = m->options ? gdfo_json_first(m->options) : NULL; o;
         o = gdfo_json_next(o)) {
        gdfo_json_put_node(w, gdfo_json_key(o), o);
    }
    gdfo_json_close(w, '}');
    gdfo_json_close(w, '}');
}

enum gdfo_status gdfo_bench_cell_digest(const struct gdfo_bench *b, const struct gdfo_bench_cell *c,
                                        char out[GDFO_BENCH_HEX_BYTES], struct gdfo_error *err)
{
    const struct gdfo_bench_data *data = &b->data[c->task];
    unsigned char digest[GDFO_SHA256_BYTES];
    struct gdfo_buf text;
    struct gdfo_json_writer w;
    int is_ok;
    gdfo_buf_init(&text, GDFO_SPEC_MAX_BYTES);
    w = gdfo_json_writer(&text);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "model", b->plan->models[c->model]);
    gdfo_json_put_str(&w, "train", data->sha256[GDFO_BENCH_TRAIN]);
    gdfo_json_put_str(&w, "dev", data->sha256[GDFO_BENCH_DEV]);
    gdfo_json_put_int(&w, "seed", b->plan->seeds[c->seed]);
    put_method(&w, b->plan, c);
    gdfo_json_close(&w, '}');
    is_ok = gdfo_buf_ok(&text);
    if (is_ok) {
        gdfo_sha256(text.data, text.len, digest);
        gdfo_hex(digest, sizeof digest, out);
    }
    gdfo_buf_deinit(&text);
    return is_ok
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_LIMIT, "%s: the job is longer than 1 MiB", c->key);
}

enum gdfo_status gdfo_bench_cell_body(const struct gdfo_bench *b, const struct gdfo_bench_cell *c,
                                      const char *digest, struct gdfo_buf *out,
                                      struct gdfo_error *err)
{
    const struct gdfo_bench_data *data = &b->data[c->task];
    struct gdfo_json_writer w = gdfo_json_writer(out);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "model", b->plan->models[c->model]);
    gdfo_json_put_str(&w, "training_file", data->ids[GDFO_BENCH_TRAIN]);
    if (data->ids[GDFO_BENCH_DEV][0]) {
        gdfo_json_put_str(&w, "validation_file", data->ids[GDFO_BENCH_DEV]);
    }
    gdfo_json_put_int(&w, "seed", b->plan->seeds[c->seed]);
    gdfo_json_put_str(&w, "name", c->key);
    gdfo_json_open(&w, "metadata", '{');
    gdfo_json_put_str(&w, "bench", b->plan->name);
    gdfo_json_put_str(&w, "cell", digest);
    gdfo_json_close(&w, '}');
    put_method(&w, b->plan, c);
    gdfo_json_close(&w, '}');
    return gdfo_buf_ok(out)
               ? GDFO_STATUS_OK
               : gdfo_error_set(err, GDFO_STATUS_LIMIT, "%s: the job is longer than 1 MiB", c->key);
}

void gdfo_bench_baseline_key(const struct gdfo_bench_plan *plan, const struct gdfo_bench_cell *c,
                             char out[GDFO_BENCH_KEY_BYTES])
{
    (void)snprintf(out, GDFO_BENCH_KEY_BYTES, "%s/%s/s%lld", plan->models[c->model],
                   plan->tasks[c->task].name, (long long)plan->seeds[c->seed]);
}
