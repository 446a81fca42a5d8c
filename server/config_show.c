#include "server/config_show.h"

#include <inttypes.h>
#include <string.h>

static const char *const sources[] = {"built-in", "file", "environment", "flag"};

void gdfo_config_show_usage(struct gdfo_buf *out)
{
    gdfo_buf_add(out,
                 "usage: gdfod [--config FILE] [--precision f32|bf16|int8|auto] [--memory SIZE]\n"
                 "             [--KEY=VALUE]...\n"
                 "       gdfod --check-config [FILE] | --print-config | --help-config\n"
                 "       gdfod --help | --version\n\n"
                 "Tunes prompts of black-box language models; serves a REST API on loopback.\n"
                 "Prints 'ready http://ADDRESS:PORT' on stdout once it serves. SIGTERM stops\n"
                 "it: jobs go on after the next start. A setting is looked up as --a.b=v,\n"
                 "GDFO_A_B, in FILE, and built in; --help-config lists them all.\n\n"
                 "exit status: 0 stopped as asked, 1 failed while running, 2 usage or\n"
                 "configuration, 3 data folder refused, 4 address in use\n");
}

void gdfo_config_show_help(struct gdfo_buf *out)
{
    for (const struct gdfo_opt *o = gdfo_config_rows(); o->name; o++) {
        gdfo_buf_addf(out, "%-16s %s", o->name, o->help);
        if (o->fallback && *o->fallback) {
            gdfo_buf_addf(out, " (default %s", o->fallback);
            if (o->type == GDFO_OPT_INT) {
                gdfo_buf_addf(out, ", %.0f..%.0f", o->min, o->max);
            }
            gdfo_buf_add(out, o->choices ? ", one of " : "");
            gdfo_buf_add(out, o->choices ? o->choices : "");
            gdfo_buf_addc(out, ')');
        }
        gdfo_buf_addc(out, '\n');
    }
    gdfo_buf_add(out, "[teacher NAME]   adapter (embedded), model: the stem of a file in"
                      " models.dir\n"
                      "[teacher NAME]   of another server: adapter, model as its server names it,"
                      " local, base_url, allow_cidrs, secret_ref, ca_file, max_inflight,"
                      " timeout_ms, idempotent, requests_per_minute, tokens_per_minute,"
                      " options.KEY (CONFIG.md)\n"
                      "[student NAME]   file: the name of a file in models.dir\n");
}

static void show_choice(const char *choices, int index, struct gdfo_buf *out)
{
    for (; index > 0 && *choices; index--) {
        choices += strcspn(choices, "|");
        choices += *choices == '|';
    }
    gdfo_buf_addn(out, choices, strcspn(choices, "|"));
}

static void show_value(const struct gdfo_config *c, const struct gdfo_opt *o, struct gdfo_buf *out)
{
    const char *at = (const char *)c + o->offset;
    int64_t whole;
    int index;
    if (o->type == GDFO_OPT_INT) {
        memcpy(&whole, at, sizeof whole);
        gdfo_buf_addf(out, "%" PRId64, whole);
    } else if (o->type == GDFO_OPT_ENUM) {
        memcpy(&index, at, sizeof index);
        show_choice(o->choices, index, out);
    } else {
        gdfo_buf_add(out, at);
    }
}

static void show_remote(const struct gdfo_config_teacher *t, struct gdfo_buf *out)
{
    gdfo_buf_addf(out, "local = %s\nbase_url = %s\nallow_cidrs = %s\nsecret_ref = %s\n", t->local,
                  t->base_url, t->allow_cidrs, t->secret_ref);
    gdfo_buf_addf(out, "ca_file = %s\nmax_inflight = %" PRId64 "\ntimeout_ms = %" PRId64 "\n",
                  t->ca_file, t->max_inflight, t->timeout_ms);
    gdfo_buf_addf(out, "requests_per_minute = %g\ntokens_per_minute = %g\nidempotent = %s\n",
                  t->requests_per_minute, t->tokens_per_minute, t->idempotent ? "true" : "false");
    for (size_t i = 0; i < t->n_options; i++) {
        gdfo_buf_addf(out, "options.%s = %s\n", t->options[i].name, t->options[i].value);
    }
}

void gdfo_config_show_values(const struct gdfo_config *c, struct gdfo_buf *out)
{
    const struct gdfo_opt *rows = gdfo_config_rows();
    for (size_t i = 0; rows[i].name; i++) {
        gdfo_buf_addf(out, "%s = ", rows[i].name);
        show_value(c, &rows[i], out);
        gdfo_buf_addf(out, "   # %s\n", sources[c->sources[i]]);
    }
    for (size_t i = 0; i < c->n_teachers; i++) {
        const struct gdfo_config_teacher *t = &c->teachers[i];
        gdfo_buf_addf(out, "[teacher %s]\nadapter = %s\nmodel = %s\n", t->name, t->adapter,
                      t->model);
        if (strcmp(t->adapter, "embedded") != 0) {
            show_remote(t, out);
        }
    }
    for (size_t i = 0; i < c->n_students; i++) {
        gdfo_buf_addf(out, "[student %s]\nfile = %s\n", c->students[i].name, c->students[i].file);
    }
}
