/* The task object of a job: what is accepted is written, parsed again, and is the same. */
#include "common/check.h"
#include "common/parse.h"
#include "server/task/kind.h"
#include "server/task/task.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void count(void *ctx, const char *pointer, const char *code, const char *detail)
{
    size_t *n = ctx;
    GDFO_CHECK(pointer[0] == '\0' || pointer[0] == '/');
    GDFO_CHECK(code[0] != '\0' && detail[0] != '\0');
    (*n)++;
}

static void write(const struct gdfo_task_spec *spec, struct gdfo_buf *b)
{
    gdfo_buf_init(b, 4U << 20);
    struct gdfo_json_writer w = gdfo_json_writer(b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_task_spec_write_json(spec, &w);
    gdfo_json_close(&w, '}');
    GDFO_CHECK(gdfo_buf_ok(b));
}

static void round_trip(const struct gdfo_task_spec *spec)
{
    struct gdfo_buf one;
    struct gdfo_buf two;
    struct gdfo_json *root = NULL;
    struct gdfo_task_spec again;
    struct gdfo_error err = {0};
    size_t n = 0;
    write(spec, &one);
    GDFO_CHECK(gdfo_json_parse(&root, one.data, one.len, NULL, &err) == GDFO_STATUS_OK);
    GDFO_CHECK(gdfo_task_spec_parse(&again, root, "", count, &n, &err) == GDFO_STATUS_OK);
    write(&again, &two);
    GDFO_CHECK(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    gdfo_task_spec_deinit(&again);
    gdfo_json_destroy(root);
    gdfo_buf_deinit(&one);
    gdfo_buf_deinit(&two);
}

/* Joined with labels, one of which the verbalizer may name. */
static void join(const struct gdfo_task_spec *spec)
{
    const char *labels[] = {"a", spec->n_verbalizer > 0 ? spec->verbalizer[0].label : "b"};
    const struct gdfo_row rows[] = {{.text = "x{"}, {.text = "x{", .text_b = "}"}};
    for (int is_pair = 0; is_pair < 2; is_pair++) {
        struct gdfo_task *task = NULL;
        struct gdfo_error err = {0};
        struct gdfo_buf body;
        gdfo_buf_init(&body, 1U << 20);
        if (gdfo_task_create(&task, spec, labels, 2, is_pair, &err) == GDFO_STATUS_OK) {
            GDFO_CHECK(gdfo_task_render(task, &rows[is_pair], &body, &err) == GDFO_STATUS_OK);
            GDFO_CHECK(gdfo_task_n_forms(task) >= 2);
        } else {
            GDFO_CHECK(err.text[0] != '\0' && err.field[0] == '/');
        }
        gdfo_task_destroy(task);
        gdfo_buf_deinit(&body);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct gdfo_json *root = NULL;
    struct gdfo_task_spec spec;
    struct gdfo_error err = {0};
    size_t n_faults = 0;
    if (gdfo_json_parse(&root, (const char *)data, n, NULL, &err) != GDFO_STATUS_OK) {
        return 0;
    }
    enum gdfo_status status = gdfo_task_spec_parse(&spec, root, "/task", count, &n_faults, &err);
    GDFO_CHECK((status == GDFO_STATUS_OK) == (n_faults == 0));
    if (status == GDFO_STATUS_OK) {
        round_trip(&spec);
        join(&spec);
        gdfo_task_spec_deinit(&spec);
    } else {
        GDFO_CHECK(strncmp(err.field, "/task", 5) == 0);
    }
    gdfo_json_destroy(root);
    return 0;
}
