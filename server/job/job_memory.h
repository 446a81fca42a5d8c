#ifndef GDFO_SERVER_JOB_JOB_MEMORY_H
#define GDFO_SERVER_JOB_JOB_MEMORY_H

#include "server/job/job_models.h"

/*
 * What a job computes with beside its models' weights, in bytes, known before anything is loaded
 * (the formula stands in CONFIG.md). Pure; any thread.
 */
struct gdfo_pool;
struct gdfo_job_spec;

/* Ceiling of one job's cached texts: 512 MiB, or an eighth of --memory where that is less. */
size_t gdfo_job_kv_bytes(const struct gdfo_models *models);

/* A teacher's workspace, answers and cached texts. */
uint64_t gdfo_job_teacher_bytes(const struct gdfo_models *models, struct gdfo_pool *pool,
                                const struct gdfo_model_entry *teacher);

struct gdfo_job_text_size { /* of the training texts, in tokens at most */
    uint64_t all, longest;
};

/* The student's trainable parameters, packed layers, activations and cached texts; 0 when the
 * method needs no student. */
uint64_t gdfo_job_student_bytes(const struct gdfo_model_entry *student, int is_teachers_file,
                                const struct gdfo_job_text_size *texts,
                                const struct gdfo_job_spec *spec);

/* The teacher as a student of all its layers, which measure_cosine needs; 0 without it. */
uint64_t gdfo_job_yardstick_bytes(const struct gdfo_model_entry *teacher,
                                  const struct gdfo_job_text_size *texts,
                                  const struct gdfo_job_spec *spec);

struct gdfo_job_deps;
/* LIMIT, naming the bytes needed and allowed, when a job of this spec could never run here. OK when
 * it may, or its teacher or student is not there (others say that). */
GDFO_MUST_USE enum gdfo_status gdfo_job_fits(const struct gdfo_job_deps *deps,
                                             const struct gdfo_job_spec *spec,
                                             struct gdfo_error *err);

#endif
