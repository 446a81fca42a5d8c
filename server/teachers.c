#include "server/teachers.h"

#include "common/mem.h"

#include <string.h>

#define SECRET_BYTES 4096

static int is_remote(const struct gdfo_config_teacher *t)
{
    return strcmp(t->adapter, "embedded") != 0;
}

static enum gdfo_status add(struct gdfo_remotes *rs, const struct gdfo_config_teacher *t,
                            const struct gdfo_models *models, struct gdfo_error *err)
{
    struct gdfo_remote_option options[GDFO_CONFIG_TEACHER_OPTIONS_MAX + 1] = {{NULL, NULL}};
    char secret[SECRET_BYTES];
    struct gdfo_remotes_spec spec = {.name = t->name,
                                     .adapter = t->adapter,
                                     .model = t->model,
                                     .local = t->local,
                                     .base_url = t->base_url,
                                     .allow_cidrs = t->allow_cidrs,
                                     .ca_file = t->ca_file,
                                     .max_inflight = t->max_inflight,
                                     .timeout_ms = t->timeout_ms,
                                     .requests_per_minute = t->requests_per_minute,
                                     .tokens_per_minute = t->tokens_per_minute,
                                     .is_idempotent = t->idempotent,
                                     .options = options};
    enum gdfo_status status;
    const struct gdfo_model_entry *local = gdfo_models_find(models, t->local);
    if (!local || !local->has_tokenizer) {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                              "teacher %s: local = %s is no model with a tokenizer in the models "
                              "folder",
                              t->name, t->local);
    }
    if (gdfo_models_find(models, t->name)) {
        return gdfo_error_set(err, GDFO_STATUS_CONFLICT,
                              "teacher %s: a model in the models folder has this name", t->name);
    }
    for (size_t i = 0; i < t->n_options; i++) {
        options[i] = (struct gdfo_remote_option){t->options[i].name, t->options[i].value};
    }
    status = gdfo_config_secret(t->secret_ref, secret, sizeof secret, err);
    if (status == GDFO_STATUS_OK) {
        spec.secret = secret[0] ? secret : NULL;
        status = gdfo_remotes_add(rs, &spec, err);
    } else {
        GDFO_IGNORE(gdfo_error_prefix(err, "teacher %s", t->name));
    }
    gdfo_mem_wipe(secret, sizeof secret);
    return status;
}

enum gdfo_status gdfo_teachers_create(struct gdfo_remotes **out, const struct gdfo_config *config,
                                      const struct gdfo_models *models, struct gdfo_error *err)
{
    struct gdfo_remotes *rs = NULL;
    enum gdfo_status status = GDFO_STATUS_OK;
    *out = NULL;
    for (size_t i = 0; status == GDFO_STATUS_OK && i < config->n_teachers; i++) {
        if (!is_remote(&config->teachers[i])) {
            continue;
        }
        if (!rs) {
            status = gdfo_remotes_create(&rs, err);
        }
        if (status == GDFO_STATUS_OK) {
            status = add(rs, &config->teachers[i], models, err);
        }
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_remotes_destroy(rs);
        return status;
    }
    *out = rs;
    return GDFO_STATUS_OK;
}
