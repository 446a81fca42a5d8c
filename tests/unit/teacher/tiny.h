#ifndef GDFO_TESTS_UNIT_TEACHER_TINY_H
#define GDFO_TESTS_UNIT_TEACHER_TINY_H

#include "common/file.h"
#include "server/model/model.h"
#include "server/num/gemm.h"
#include "server/num/pool.h"
#include "server/teacher/teacher.h"
#include "tests/support/test.h"

/* The 260K-parameter stories model of the shared folder as a teacher: real, and quick. */
struct tiny {
    struct gdfo_pool *pool;
    struct gdfo_model *model;
    struct gdfo_teacher *teacher;
};

static inline void tiny_open(struct tiny *t, size_t kv_max_bytes)
{
    struct gdfo_error err = {0};
    struct gdfo_reader file;
    struct gdfo_model_file *parsed = NULL;
    struct gdfo_teacher_env env = {.model_sha256 = "tiny", .kv_max_bytes = kv_max_bytes};
    gdfo_gemm_init();
    gdfo_test_ok(gdfo_pool_create(&t->pool, 2, &err), &err);
    gdfo_test_ok(
        gdfo_reader_open(
            &file, gdfo_test_shared_path("models/stories260K/stories260K.derived.gguf"), &err),
        &err);
    gdfo_test_ok(gdfo_model_file_open(&parsed, &file, NULL, &err), &err);
    gdfo_test_ok(gdfo_model_open(&t->model, parsed, &(struct gdfo_model_options){0}, &err), &err);
    gdfo_model_file_destroy(parsed);
    gdfo_reader_close(&file);
    env.model = t->model;
    env.pool = t->pool;
    gdfo_test_ok(gdfo_teacher_open(&t->teacher, "embedded", &env, &err), &err);
}

static inline void tiny_close(struct tiny *t)
{
    gdfo_teacher_close(t->teacher);
    gdfo_model_destroy(t->model);
    gdfo_pool_destroy(t->pool);
}

#endif
