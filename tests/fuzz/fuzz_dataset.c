/* A JSONL file as a caller uploads it, read for training, validation and prediction; then what a
 * job does with it. */
#include "common/check.h"
#include "common/file.h"
#include "common/parse.h"
#include "server/task/kind.h"
#include "server/task/split.h"
#include "server/task/task.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* A row that was accepted keeps what section 2 promises. */
static void check_row(const struct gdfo_dataset *d, const struct gdfo_row *row)
{
    GDFO_CHECK(row->text[0] != '\0' && row->line > 0);
    GDFO_CHECK(gdfo_utf8_valid(row->text, strlen(row->text)) == strlen(row->text));
    GDFO_CHECK((row->text_b != NULL) == (gdfo_dataset_is_pair(d) != 0));
    GDFO_CHECK(row->label == GDFO_ROW_NO_LABEL || row->label < gdfo_dataset_n_labels(d));
}

static void use(const struct gdfo_dataset *d)
{
    struct gdfo_error err = {0};
    struct gdfo_task_spec spec;
    struct gdfo_task *task = NULL;
    struct gdfo_split split;
    struct gdfo_split_opts opts = {0, GDFO_SPLIT_AUTO, 7};
    struct gdfo_buf body;
    gdfo_buf_init(&body, GDFO_DATASET_LINE_MAX_BYTES * 2);
    GDFO_CHECK(gdfo_split_draw(&split, d, &opts, &err) == GDFO_STATUS_OK);
    GDFO_CHECK(split.n_train + split.n_dev == gdfo_dataset_size(d));
    GDFO_CHECK(gdfo_task_spec_parse(&spec, NULL, "", NULL, NULL, &err) == GDFO_STATUS_OK);
    if (gdfo_task_create(&task, &spec, gdfo_dataset_labels(d), gdfo_dataset_n_labels(d),
                         gdfo_dataset_is_pair(d), &err) == GDFO_STATUS_OK) {
        for (size_t i = 0; i < gdfo_dataset_size(d); i++) {
            gdfo_buf_reset(&body);
            GDFO_CHECK(gdfo_task_render(task, gdfo_dataset_row(d, i), &body, &err) ==
                       GDFO_STATUS_OK);
        }
    } else { /* the label " a" beside "a": one word for both */
        GDFO_CHECK(strstr(err.text, "stands for two labels") != NULL);
    }
    gdfo_task_destroy(task);
    gdfo_task_spec_deinit(&spec);
    gdfo_split_deinit(&split);
    gdfo_buf_deinit(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    for (int rows = GDFO_ROWS_TRAIN; rows <= GDFO_ROWS_INPUTS; rows++) {
        struct gdfo_reader in = gdfo_reader_memory(data, n, "fuzz");
        struct gdfo_dataset_source from = {gdfo_task_kind(0), (enum gdfo_rows)rows, "file"};
        struct gdfo_faults faults = {0};
        struct gdfo_error err = {0};
        struct gdfo_dataset *d = NULL;
        if (gdfo_dataset_parse(&d, &in, &from, &faults, &err) == GDFO_STATUS_OK) {
            for (size_t i = 0; i < gdfo_dataset_size(d); i++) {
                check_row(d, gdfo_dataset_row(d, i));
            }
            if (rows == GDFO_ROWS_TRAIN) {
                use(d);
            }
        } else {
            GDFO_CHECK(d == NULL && err.text[0] != '\0' && err.code[0] != '\0');
            GDFO_CHECK(gdfo_utf8_valid(err.text, strlen(err.text)) == strlen(err.text));
        }
        gdfo_dataset_destroy(d);
    }
    return 0;
}
