#include "client/cli/render.h"

static const struct gdfo_cli_column columns[] = {{"version", "version", GDFO_CLI_TEXT},
                                                 {"compiler", "build.compiler", GDFO_CLI_TEXT},
                                                 {"methods", "methods", GDFO_CLI_TEXT},
                                                 {0}};

static const struct gdfo_cli_column job_columns[] = {{"JOB", "id", GDFO_CLI_TEXT},
                                                     {"STATUS", "status", GDFO_CLI_TEXT},
                                                     {"EVALS", "spend.evals", GDFO_CLI_COUNT},
                                                     {"BEST", "best.value", GDFO_CLI_NUMBER},
                                                     {"CREATED", "created_at", GDFO_CLI_AGE},
                                                     {0}};

static int print_jobs(struct gdfo_cli *cli)
{
    struct gdfo_error err = {0};
    struct gdfo_json *jobs = NULL;
    int code = gdfo_cli_check_json(
        cli, gdfo_client_get(cli->client, &cli->reply, &err, "/v1/fine_tuning/jobs?limit=5"), &jobs,
        &err);
    if (!code) {
        gdfo_cli_table(cli, jobs, job_columns, "no jobs yet: gdfo job run SPEC");
    }
    gdfo_json_destroy(jobs);
    return code;
}

static int run(struct gdfo_cli *cli)
{
    struct gdfo_error err = {0};
    struct gdfo_json *info = NULL;
    int code = gdfo_cli_check_json(cli, gdfo_client_get(cli->client, &cli->reply, &err, "/v1/info"),
                                   &info, &err);
    if (code) {
        return code;
    }
    if (cli->is_json) {
        code = gdfo_cli_print_json(cli, info);
    } else {
        (void)fprintf(cli->out, "%-14s %s\n", "daemon", cli->url);
        gdfo_cli_pairs(cli, info, columns);
        code = print_jobs(cli);
    }
    gdfo_json_destroy(info);
    return code;
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_JSON_OPTION, {0}};

const struct gdfo_cli_command gdfo_cmd_status = {
    .words = "status",
    .usage = "",
    .min_words = 0,
    .max_words = 0,
    .options = options,
    .help = "is the daemon there, which version, which jobs are live",
    .run = run,
};
