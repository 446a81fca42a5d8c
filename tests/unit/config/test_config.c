#include "common/log.h"
#include "common/mem.h"
#include "server/config.h"
#include "server/config_show.h"
#include "server/job/job_models.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    struct gdfo_config *c;
    struct gdfo_config_faults faults;
    struct gdfo_config_command command;
};

static int setup(void **state)
{
    struct fixture *f = gdfo_mem_array(1, sizeof *f);
    f->c = gdfo_config_create();
    assert_non_null(f->c);
    gdfo_config_faults_init(&f->faults);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    gdfo_mem_free(f->c);
    gdfo_buf_deinit(&f->faults.text);
    gdfo_mem_free(f);
    return 0;
}

/* An environment of NAME=VALUE texts, ended by NULL. */
static const char *lookup(void *ctx, const char *name)
{
    for (const char *const *e = ctx; *e; e++) {
        size_t n = strlen(name);
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=') {
            return *e + n + 1;
        }
    }
    return NULL;
}

static void read_text(struct fixture *f, const char *text)
{
    gdfo_config_read_text(f->c, text, strlen(text), "t.conf", &f->faults);
}

static void read_env(struct fixture *f, const char *const *env)
{
    union {
        const char *const *in;
        void *out;
    } ctx = {.in = env};
    gdfo_config_read_env(f->c, lookup, ctx.out, &f->faults);
}

static void settle(struct fixture *f, const char *const *env)
{
    union {
        const char *const *in;
        void *out;
    } ctx = {.in = env};
    gdfo_config_settle(f->c, lookup, ctx.out, &f->faults);
}

#define ARGS_MAX 8

static void read_args(struct fixture *f, const char *const *args)
{
    char text[ARGS_MAX][128];
    char *argv[ARGS_MAX + 1] = {NULL};
    int argc = 0;
    for (; args[argc]; argc++) {
        (void)snprintf(text[argc], sizeof text[argc], "%s", args[argc]);
        argv[argc] = text[argc];
    }
    gdfo_config_read_args(f->c, argc, argv, &f->command, &f->faults);
    if (f->command.file) { /* argv dies with this function */
        static char file[128];
        (void)snprintf(file, sizeof file, "%s", f->command.file);
        f->command.file = file;
    }
}

#define ARGS(...) read_args(f, (const char *const[]){"gdfod", __VA_ARGS__, NULL})
#define ENV(...)  read_env(f, (const char *const[]){__VA_ARGS__, NULL})

static void check_faults(struct fixture *f, size_t n, const char *text)
{
    if (f->faults.n != n ||
        (text && strcmp(f->faults.text.data ? f->faults.text.data : "", text))) {
        print_error("%zu faults:\n%s", f->faults.n, f->faults.text.data ? f->faults.text.data : "");
        fail();
    }
}

static void the_built_in_values_are_those_of_the_contract(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(f->c->http_bind, "127.0.0.1");
    assert_int_equal(f->c->http_port, 8787);
    assert_int_equal(f->c->http_threads, 2);
    assert_string_equal(f->c->http_hosts, "");
    assert_int_equal(f->c->sched_workers, 2);
    assert_int_equal(f->c->compute_threads, 0);
    assert_int_equal(f->c->stop_seconds, 8);
    assert_int_equal(f->c->ballast_mib, 64);
    assert_int_equal(f->c->log_level, GDFO_LOG_INFO);
    assert_int_equal(f->c->log_format, 0);
}

static void a_file_has_sections_whole_keys_comments_and_blanks(void **state)
{
    struct fixture *f = *state;
    read_text(f, "# the file\n"
                 "data.dir = /srv/gdfo data\n"
                 "\n"
                 "[http]\r\n"
                 "  port=0   # any\n"
                 "hosts = a#b,c\n"
                 "[ log ]\n"
                 "level = debug\n"
                 "format = json");
    check_faults(f, 0, NULL);
    assert_string_equal(f->c->data_dir, "/srv/gdfo data");
    assert_int_equal(f->c->http_port, 0);
    assert_string_equal(f->c->http_hosts, "a#b,c");
    assert_int_equal(f->c->log_level, GDFO_LOG_DEBUG);
    assert_int_equal(f->c->log_format, 1);
}

static void flag_beats_environment_beats_file_whatever_the_order(void **state)
{
    struct fixture *f = *state;
    ARGS("--sched.workers=5");
    ENV("GDFO_SCHED_WORKERS=4", "GDFO_HTTP_PORT=4000");
    read_text(f, "[sched]\nworkers = 3\n[http]\nport = 3000\nthreads = 3\n");
    check_faults(f, 0, NULL);
    assert_int_equal(f->c->sched_workers, 5);
    assert_int_equal(f->c->http_port, 4000);
    assert_int_equal(f->c->http_threads, 3);
    ARGS("--http.threads=6");
    assert_int_equal(f->c->http_threads, 6);
}

static void an_overridden_value_must_be_right_too(void **state)
{
    struct fixture *f = *state;
    ARGS("--http.port=1");
    read_text(f, "[http]\nport = 99999\n");
    check_faults(f, 1, "t.conf:2: http.port is '99999'; want an integer 0..65535\n");
    assert_int_equal(f->c->http_port, 1);
}

static void every_key_has_its_environment_variable(void **state)
{
    struct fixture *f = *state;
    ENV("GDFO_DATA_DIR=/d", "GDFO_MODELS_DIR=/m", "GDFO_HTTP_BIND=::1", "GDFO_HTTP_PORT=1",
        "GDFO_HTTP_THREADS=3", "GDFO_HTTP_HOSTS=h", "GDFO_SCHED_WORKERS=4",
        "GDFO_COMPUTE_THREADS=5", "GDFO_STOP_SECONDS=6", "GDFO_DB_BALLAST_MIB=7",
        "GDFO_LOG_LEVEL=off", "GDFO_LOG_FORMAT=json", "GDFO_ENGINE_PRECISION=bf16",
        "GDFO_ENGINE_MEMORY=3G", "GDFO_SERVE_MODELS=a,b", "GDFO_SERVE_QUEUE=8");
    check_faults(f, 0, NULL);
    assert_string_equal(f->c->serve_models, "a,b");
    assert_int_equal(f->c->serve_queue, 8);
    assert_int_equal(f->c->precision, GDFO_PRECISION_BF16);
    assert_string_equal(f->c->memory, "3G");
    assert_string_equal(f->c->data_dir, "/d");
    assert_string_equal(f->c->models_dir, "/m");
    assert_string_equal(f->c->http_bind, "::1");
    assert_string_equal(f->c->http_hosts, "h");
    assert_int_equal(f->c->http_port, 1);
    assert_int_equal(f->c->http_threads, 3);
    assert_int_equal(f->c->sched_workers, 4);
    assert_int_equal(f->c->compute_threads, 5);
    assert_int_equal(f->c->stop_seconds, 6);
    assert_int_equal(f->c->ballast_mib, 7);
    assert_int_equal(f->c->log_level, GDFO_LOG_OFF);
    for (size_t i = 0; gdfo_config_rows()[i].name; i++) {
        assert_int_equal(f->c->sources[i], GDFO_CONFIG_ENVIRONMENT);
    }
}

/* ---- --precision and --memory ------------------------------------------------------------------
 */

static void the_engines_settings_have_short_names(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->c->precision, GDFO_PRECISION_AUTO);
    ARGS("--precision", "int8", "--memory=900M");
    check_faults(f, 0, NULL);
    assert_int_equal(f->c->precision, GDFO_PRECISION_INT8);
    assert_string_equal(f->c->memory, "900M");
    ARGS("--precision=f32", "--engine.memory=1K");
    check_faults(f, 0, NULL);
    assert_int_equal(f->c->precision, GDFO_PRECISION_F32);
    assert_string_equal(f->c->memory, "1K");
}

static void a_short_name_without_a_value_is_told(void **state)
{
    struct fixture *f = *state;
    ARGS("--precision", "--memory");
    check_faults(f, 2,
                 "command line: --precision needs a value: --precision=...\n"
                 "command line: --memory needs a value: --memory=...\n");
}

static void a_precision_that_is_none_is_refused_with_those_there_are(void **state)
{
    struct fixture *f = *state;
    ARGS("--precision", "fp8");
    check_faults(f, 1, "command line: engine.precision is 'fp8'; want one of f32|bf16|int8|auto\n");
}

static void memory_is_read_with_its_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {{"0", 0},
                 {"1073741824", (uint64_t)1 << 30},
                 {"4G", (uint64_t)4 << 30},
                 {"900m", (uint64_t)900 << 20},
                 {"2T", (uint64_t)2 << 40},
                 {"17K", 17 << 10}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static const char *const env[] = {"HOME=/h", NULL};
        (void)snprintf(f->c->memory, sizeof f->c->memory, "%s", cases[i].text);
        settle(f, env);
        check_faults(f, 0, NULL);
        assert_int_equal(f->c->memory_bytes, cases[i].bytes);
    }
}

static void memory_that_is_no_size_is_refused(void **state)
{
    static const char *const bad[] = {"", "G", "-1", "4X", "1.5G", "4 G", "9999999999G", "4GB"};
    static const char *const env[] = {"HOME=/h", NULL};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(f->c->memory, sizeof f->c->memory, "%s", bad[i]);
        settle(f, env);
        assert_int_equal(f->faults.n, i + 1);
    }
    assert_non_null(strstr(f->faults.text.data, "engine.memory: '4X'; want bytes, or a number"));
}

static void an_empty_environment_variable_is_as_none(void **state)
{
    struct fixture *f = *state;
    ENV("GDFO_HTTP_PORT=");
    check_faults(f, 0, NULL);
    assert_int_equal(f->c->http_port, 8787);
}

static void a_wrong_environment_variable_is_named(void **state)
{
    struct fixture *f = *state;
    ENV("GDFO_LOG_LEVEL=loud");
    check_faults(f, 1,
                 "GDFO_LOG_LEVEL: log.level is 'loud'; want one of debug|info|warn|error|off\n");
}

static void an_unknown_key_names_the_nearest_known_one(void **state)
{
    struct fixture *f = *state;
    read_text(f, "[http]\nprot = 1\n");
    ARGS("--sched.worker=2", "--quite-something=1");
    check_faults(f, 3,
                 "t.conf:2: unknown option 'http.prot'; nearest is 'http.port'\n"
                 "command line: unknown option 'sched.worker'; nearest is 'sched.workers'\n"
                 "command line: unknown option 'quite-something'\n");
}

static void all_faults_are_listed_with_their_lines(void **state)
{
    struct fixture *f = *state;
    read_text(f, "port = 1\n"
                 "[http\n"
                 "[http]\n"
                 "port\n"
                 "port = -1\n"
                 "threads = 2\n"
                 "threads = 3\n"
                 "[wrong section here]\n"
                 "[teacher]\n"
                 "x = 1\n");
    check_faults(
        f, 7,
        "t.conf:1: unknown option 'port'\n"
        "t.conf:2: '[http'; want [section]\n"
        "t.conf:4: 'port'; want key = value\n"
        "t.conf:5: http.port is '-1'; want an integer 0..65535\n"
        "t.conf:7: http.threads stands in line 6 already\n"
        "t.conf:8: [wrong section here]; want [section], [teacher NAME] or [student NAME]\n"
        "t.conf:10: unknown option 'teacher.x'\n");
}

static void sections_of_teachers_and_students_are_kept(void **state)
{
    struct fixture *f = *state;
    read_text(f, "[teacher big]\nmodel = SmolLM2\n"
                 "[teacher small]\nadapter = embedded\nmodel = tiny\n"
                 "[student half]\nfile = half.gguf\n"
                 "[log]\nlevel = warn\n");
    settle(f, (const char *const[]){"HOME=/home/a", NULL});
    check_faults(f, 0, NULL);
    assert_int_equal(f->c->n_teachers, 2);
    assert_string_equal(f->c->teachers[0].name, "big");
    assert_string_equal(f->c->teachers[0].adapter, "embedded");
    assert_string_equal(f->c->teachers[0].model, "SmolLM2");
    assert_string_equal(f->c->teachers[1].model, "tiny");
    assert_int_equal(f->c->n_students, 1);
    assert_string_equal(f->c->students[0].name, "half");
    assert_string_equal(f->c->students[0].file, "half.gguf");
    assert_int_equal(f->c->log_level, GDFO_LOG_WARN);
}

static void sections_that_cannot_be_served_are_faults(void **state)
{
    struct fixture *f = *state;
    read_text(f, "[teacher a]\nadapter = vllm\nmodle = x\n"
                 "[teacher a]\nmodel = y\n"
                 "[student s]\nfile = ../secret.gguf\n"
                 "[teacher b/c]\n");
    settle(f, (const char *const[]){"HOME=/home/a", NULL});
    check_faults(f, 7,
                 "t.conf:3: unknown option 'modle'; nearest is 'model'\n"
                 "t.conf:4: [teacher a] stands there already\n"
                 "t.conf:8: [teacher b/c]; want [section], [teacher NAME] or [student NAME]\n"
                 "[teacher a]: model is missing: the stem of a file in models.dir, or over HTTP "
                 "the name that the server knows\n"
                 "[teacher a]: base_url is missing: https://host[:port]\n"
                 "[teacher a]: local is missing: a model in models.dir with the teacher's "
                 "tokenizer\n"
                 "[student s]: file is '../secret.gguf'; want a file's name in models.dir\n");
}

static void more_sections_than_there_is_room_for_are_refused(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < GDFO_CONFIG_SECTIONS_MAX + 1; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "[teacher t%d]\nmodel = m\n[student s%d]\nfile = f\n", i,
                       i);
        read_text(f, text);
    }
    assert_int_equal(f->c->n_teachers, GDFO_CONFIG_SECTIONS_MAX);
    assert_int_equal(f->c->n_students, GDFO_CONFIG_SECTIONS_MAX);
    assert_non_null(strstr(f->faults.text.data, "more than 32 teachers"));
    assert_non_null(strstr(f->faults.text.data, "more than 32 students"));
}

static void hostile_lines_are_refused_and_the_rest_is_read(void **state)
{
    static char text[6000];
    struct fixture *f = *state;
    size_t n = 0;
    memcpy(text, "[http]\nport = 1\xff\n", 17);
    n = 17;
    memcpy(text + n, "threads = 2\0 3\n", 15);
    n += 15;
    memset(text + n, 'a', 4096);
    n += 4096;
    memcpy(text + n, "\nport = 5\n", 10);
    n += 10;
    gdfo_config_read_text(f->c, text, n, "t.conf", &f->faults);
    check_faults(f, 3,
                 "t.conf:2: a line of 9 bytes; want UTF-8 of at most 4095\n"
                 "t.conf:3: a line of 14 bytes; want UTF-8 of at most 4095\n"
                 "t.conf:4: a line of 4096 bytes; want UTF-8 of at most 4095\n");
    assert_int_equal(f->c->http_port, 5);
    assert_int_equal(f->c->http_threads, 2);
}

static void a_value_too_long_for_its_place_is_refused(void **state)
{
    struct fixture *f = *state;
    char text[1200];
    (void)snprintf(text, sizeof text, "http.bind = %0*d\n", 64, 1);
    read_text(f, text);
    (void)snprintf(text, sizeof text, "data.dir = /%0*d\n", 1023, 1);
    read_text(f, text);
    assert_int_equal(f->faults.n, 2);
    assert_non_null(strstr(f->faults.text.data, "want text of at most 63 bytes"));
    assert_non_null(strstr(f->faults.text.data, "want text of at most 1023 bytes"));
}

static void folders_default_as_the_contract_says(void **state)
{
    struct fixture *f = *state;
    settle(f, (const char *const[]){"HOME=/home/a", NULL});
    assert_string_equal(f->c->data_dir, "/home/a/.local/state/gdfod");
    assert_string_equal(f->c->models_dir, "/home/a/.local/state/gdfod/models");
    check_faults(f, 0, NULL);
}

static void the_supervisors_state_directory_comes_before_home(void **state)
{
    struct fixture *f = *state;
    ARGS("--models.dir=/models");
    settle(f, (const char *const[]){"HOME=/home/a", "STATE_DIRECTORY=/var/lib/gdfod:/b", NULL});
    assert_string_equal(f->c->data_dir, "/var/lib/gdfod");
    assert_string_equal(f->c->models_dir, "/models");
}

static void no_folder_at_all_is_a_fault(void **state)
{
    struct fixture *f = *state;
    settle(f, (const char *const[]){NULL});
    check_faults(f, 1, "data.dir: neither STATE_DIRECTORY nor HOME gives one; set it\n");
}

static void a_given_folder_needs_no_home(void **state)
{
    struct fixture *f = *state;
    ARGS("--data.dir=/d");
    settle(f, (const char *const[]){NULL});
    check_faults(f, 0, NULL);
    assert_string_equal(f->c->models_dir, "/d/models");
}

static void the_command_line_knows_its_verbs(void **state)
{
    static const struct {
        const char *flag;
        enum gdfo_config_verb verb;
    } verbs[] = {{"--check-config", GDFO_CONFIG_CHECK},
                 {"--print-config", GDFO_CONFIG_PRINT},
                 {"--help-config", GDFO_CONFIG_HELP_CONFIG},
                 {"--help", GDFO_CONFIG_HELP},
                 {"-h", GDFO_CONFIG_HELP},
                 {"--version", GDFO_CONFIG_VERSION}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        ARGS(verbs[i].flag);
        assert_int_equal(f->command.verb, verbs[i].verb);
        assert_null(f->command.file);
    }
    check_faults(f, 0, NULL);
}

static void the_file_can_be_named_in_three_ways(void **state)
{
    struct fixture *f = *state;
    ARGS("--config", "a.conf", "--http.port=1");
    assert_int_equal(f->command.verb, GDFO_CONFIG_RUN);
    assert_string_equal(f->command.file, "a.conf");
    ARGS("--config=b.conf");
    assert_string_equal(f->command.file, "b.conf");
    ARGS("--check-config", "c.conf");
    assert_int_equal(f->command.verb, GDFO_CONFIG_CHECK);
    assert_string_equal(f->command.file, "c.conf");
    check_faults(f, 0, NULL);
    assert_int_equal(f->c->http_port, 1);
}

static void what_the_command_line_cannot_mean_is_said(void **state)
{
    struct fixture *f = *state;
    ARGS("--config", "--http.port", "8080", "-x", "--help=yes", "--");
    check_faults(f, 6,
                 "command line: --config needs the name of a file\n"
                 "command line: --http.port needs a value: --http.port=...\n"
                 "command line: '8080'; want --key=value, see --help\n"
                 "command line: '-x'; want --key=value, see --help\n"
                 "command line: --help=yes takes no value\n"
                 "command line: unknown option ''\n");
}

static void shown_values_can_be_read_back(void **state)
{
    struct fixture *f = *state;
    struct gdfo_config *again = gdfo_config_create();
    struct gdfo_buf out;
    gdfo_buf_init(&out, 1 << 16);
    read_text(f, "[http]\nport = 99\n[teacher t]\nmodel = m\n[student s]\nfile = f.gguf\n"
                 "[teacher far]\nadapter = oip\nmodel = org/big one\nlocal = m\n"
                 "base_url = http://10.0.0.1:9, http://10.0.0.2:9\nallow_cidrs = 10.0.0.0/8\n"
                 "secret_ref = env:KEY\nmax_inflight = 33\nidempotent = true\n"
                 "options.format = json\n");
    ARGS("--log.level=warn", "--data.dir=/d");
    ENV("GDFO_LOG_FORMAT=json");
    settle(f, (const char *const[]){NULL});
    gdfo_config_show_values(f->c, &out);
    assert_non_null(strstr(out.data, "http.port = 99   # file\n"));
    assert_non_null(strstr(out.data, "log.level = warn   # flag\n"));
    assert_non_null(strstr(out.data, "log.format = json   # environment\n"));
    assert_non_null(strstr(out.data, "http.threads = 2   # built-in\n"));
    gdfo_config_read_text(again, out.data, out.len, "shown", &f->faults);
    check_faults(f, 0, NULL);
    assert_int_equal(again->http_port, 99);
    assert_int_equal(again->log_level, GDFO_LOG_WARN);
    assert_string_equal(again->data_dir, "/d");
    assert_string_equal(again->models_dir, "/d/models");
    assert_string_equal(again->teachers[0].model, "m");
    assert_string_equal(again->students[0].file, "f.gguf");
    assert_string_equal(again->teachers[1].adapter, "oip");
    assert_string_equal(again->teachers[1].model, "org/big one");
    assert_string_equal(again->teachers[1].base_url, "http://10.0.0.1:9, http://10.0.0.2:9");
    assert_string_equal(again->teachers[1].secret_ref, "env:KEY");
    assert_int_equal(again->teachers[1].max_inflight, 33);
    assert_int_equal(again->teachers[1].idempotent, 1);
    assert_int_equal(again->teachers[1].n_options, 1);
    assert_string_equal(again->teachers[1].options[0].name, "format");
    assert_string_equal(again->teachers[1].options[0].value, "json");
    gdfo_buf_deinit(&out);
    gdfo_mem_free(again);
}

static void help_has_a_line_for_every_key(void **state)
{
    struct gdfo_buf out;
    (void)state;
    gdfo_buf_init(&out, 1 << 16);
    gdfo_config_show_help(&out);
    for (const struct gdfo_opt *o = gdfo_config_rows(); o->name; o++) {
        assert_non_null(strstr(out.data, o->name));
        assert_non_null(strstr(out.data, o->help));
    }
    assert_non_null(strstr(out.data, "(default 8787, 0..65535)"));
    gdfo_buf_reset(&out);
    gdfo_config_show_usage(&out);
    assert_non_null(strstr(out.data, "usage: gdfod"));
    gdfo_buf_deinit(&out);
}

static void load_reads_the_file_that_the_command_line_names(void **state)
{
    struct fixture *f = *state;
    char *dir = gdfo_test_mkdir();
    char path[4096];
    char option[4200];
    char program[] = "gdfod";
    char flag[] = "--http.threads=9";
    char *argv[] = {program, option, flag};
    FILE *file;
    (void)snprintf(path, sizeof path, "%s/g.conf", dir);
    (void)snprintf(option, sizeof option, "--config=%s", path);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("[http]\nthreads = 3\nport = 12\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("GDFO_SCHED_WORKERS", "7", 1), 0);
    gdfo_config_load(f->c, 3, argv, &f->command, &f->faults);
    assert_int_equal(unsetenv("GDFO_SCHED_WORKERS"), 0);
    check_faults(f, 0, NULL);
    assert_int_equal(f->c->http_port, 12);
    assert_int_equal(f->c->http_threads, 9);
    assert_int_equal(f->c->sched_workers, 7);
    assert_int_equal(unlink(path), 0);
    gdfo_config_load(f->c, 2, argv, &f->command, &f->faults);
    assert_int_equal(f->faults.n, 1);
    assert_non_null(strstr(f->faults.text.data, "g.conf: cannot open"));
    gdfo_test_rmdir(dir);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_built_in_values_are_those_of_the_contract),
        CASE(a_file_has_sections_whole_keys_comments_and_blanks),
        CASE(flag_beats_environment_beats_file_whatever_the_order),
        CASE(an_overridden_value_must_be_right_too),
        CASE(every_key_has_its_environment_variable),
        CASE(the_engines_settings_have_short_names),
        CASE(a_short_name_without_a_value_is_told),
        CASE(a_precision_that_is_none_is_refused_with_those_there_are),
        CASE(memory_is_read_with_its_unit),
        CASE(memory_that_is_no_size_is_refused),
        CASE(an_empty_environment_variable_is_as_none),
        CASE(a_wrong_environment_variable_is_named),
        CASE(an_unknown_key_names_the_nearest_known_one),
        CASE(all_faults_are_listed_with_their_lines),
        CASE(sections_of_teachers_and_students_are_kept),
        CASE(sections_that_cannot_be_served_are_faults),
        CASE(more_sections_than_there_is_room_for_are_refused),
        CASE(hostile_lines_are_refused_and_the_rest_is_read),
        CASE(a_value_too_long_for_its_place_is_refused),
        CASE(folders_default_as_the_contract_says),
        CASE(the_supervisors_state_directory_comes_before_home),
        CASE(no_folder_at_all_is_a_fault),
        CASE(a_given_folder_needs_no_home),
        CASE(the_command_line_knows_its_verbs),
        CASE(the_file_can_be_named_in_three_ways),
        CASE(what_the_command_line_cannot_mean_is_said),
        CASE(shown_values_can_be_read_back),
        CASE(help_has_a_line_for_every_key),
        CASE(load_reads_the_file_that_the_command_line_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
