#ifndef GDFO_TESTS_SUPPORT_ENGINE_H
#define GDFO_TESTS_SUPPORT_ENGINE_H

#include "common/file.h"
#include "server/model/forward.h"
#include "tests/support/test.h"

/* Opens a model file for a test, which fails with the reader's words if it cannot. config NULL:
 * GGUF. */
static inline struct gdfo_model *gdfo_test_model(const char *path, const char *config)
{
    struct gdfo_error err = {0};
    struct gdfo_reader file, beside;
    struct gdfo_model_file *f = NULL;
    struct gdfo_model *model = NULL;
    gdfo_test_ok(gdfo_reader_open(&file, path, &err), &err);
    if (config) {
        gdfo_test_ok(gdfo_reader_open(&beside, config, &err), &err);
    }
    gdfo_test_ok(gdfo_model_file_open(&f, &file, config ? &beside : NULL, &err), &err);
    gdfo_test_ok(gdfo_model_open(&model, f, NULL, &err), &err);
    gdfo_model_file_destroy(f);
    gdfo_reader_close(&file);
    if (config) {
        gdfo_reader_close(&beside);
    }
    return model;
}

static inline struct gdfo_model *gdfo_test_stories(void)
{
    return gdfo_test_model(gdfo_test_shared_path("models/stories260K/stories260K.derived.gguf"),
                           NULL);
}

#endif
