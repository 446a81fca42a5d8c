#ifndef GDFO_TESTS_UNIT_TEACHER_LOCAL_MODEL_H
#define GDFO_TESTS_UNIT_TEACHER_LOCAL_MODEL_H

#include "common/file.h"
#include "server/model/model.h"
#include "server/num/gemm.h"
#include "tests/support/test.h"

/* The 260K-parameter stories model: vocabulary 512, BOS 1, 64 numbers a row. */
static inline struct gdfo_model *local_model_open(void)
{
    struct gdfo_error err = {0};
    struct gdfo_reader file;
    struct gdfo_model_file *parsed = NULL;
    struct gdfo_model *model = NULL;
    gdfo_gemm_init();
    gdfo_test_ok(
        gdfo_reader_open(
            &file, gdfo_test_shared_path("models/stories260K/stories260K.derived.gguf"), &err),
        &err);
    gdfo_test_ok(gdfo_model_file_open(&parsed, &file, NULL, &err), &err);
    gdfo_test_ok(gdfo_model_open(&model, parsed, &(struct gdfo_model_options){0}, &err), &err);
    gdfo_model_file_destroy(parsed);
    gdfo_reader_close(&file);
    return model;
}

#endif
