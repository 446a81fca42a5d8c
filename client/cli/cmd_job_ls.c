#include "client/cli/render.h"

static const struct gdfo_cli_column columns[] = {{"JOB", "id", GDFO_CLI_TEXT},
                                                 {"STATUS", "status", GDFO_CLI_TEXT},
                                                 {"NAME", "name", GDFO_CLI_TEXT},
                                                 {"MODEL", "model", GDFO_CLI_TEXT},
                                                 {"METHOD", "method.type", GDFO_CLI_TEXT},
                                                 {"EVALS", "spend.evals", GDFO_CLI_COUNT},
                                                 {"OF", "budget.evals", GDFO_CLI_COUNT},
                                                 {"BEST", "best.value", GDFO_CLI_NUMBER},
                                                 {"CREATED", "created_at", GDFO_CLI_AGE},
                                                 {0}};

static int run(struct gdfo_cli *cli)
{
    return gdfo_cli_list(cli, "/v1/fine_tuning/jobs", columns, "no jobs yet: gdfo job run SPEC");
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_LIST_OPTIONS, {0}};

const struct gdfo_cli_command gdfo_cmd_job_ls = {
    .words = "job ls",
    .usage = "",
    .min_words = 0,
    .max_words = 0,
    .options = options,
    .help = "jobs, newest first",
    .run = run,
};
