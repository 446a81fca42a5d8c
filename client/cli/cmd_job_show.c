#include "client/cli/render.h"

static const struct gdfo_cli_column columns[] = {
    {"id", "id", GDFO_CLI_TEXT},
    {"name", "name", GDFO_CLI_TEXT},
    {"status", "status", GDFO_CLI_TEXT},
    {"reason", "reason", GDFO_CLI_TEXT},
    {"detail", "status_detail", GDFO_CLI_TEXT},
    {"error", "error.message", GDFO_CLI_TEXT},
    {"where", "error.param", GDFO_CLI_TEXT},
    {"model", "model", GDFO_CLI_TEXT},
    {"precision", "precision", GDFO_CLI_TEXT},
    {"method", "method.type", GDFO_CLI_TEXT},
    {"seed", "seed", GDFO_CLI_COUNT},
    {"tuned model", "fine_tuned_model", GDFO_CLI_TEXT},
    {"training", "training_file", GDFO_CLI_TEXT},
    {"validation", "validation_file", GDFO_CLI_TEXT},
    {"evals", "spend.evals", GDFO_CLI_COUNT},
    {"  of", "budget.evals", GDFO_CLI_COUNT},
    {"queries", "spend.queries", GDFO_CLI_COUNT},
    {"  of", "budget.queries", GDFO_CLI_COUNT},
    {"dev queries", "spend.dev_queries", GDFO_CLI_COUNT},
    {"tokens in", "spend.tokens_in", GDFO_CLI_COUNT},
    {"best", "best.metric", GDFO_CLI_TEXT},
    {"  value", "best.value", GDFO_CLI_NUMBER},
    {"  step", "best.step", GDFO_CLI_COUNT},
    {"time left", "progress.eta_seconds", GDFO_CLI_SECONDS},
    {"created", "created_at", GDFO_CLI_AGE},
    {"finished", "finished_at", GDFO_CLI_AGE},
    {0}};

static int run(struct gdfo_cli *cli)
{
    struct gdfo_error err = {0};
    return gdfo_cli_show(cli,
                         gdfo_client_job_get(cli->client, cli->args.words[0], &cli->reply, &err),
                         &err, columns);
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_JSON_OPTION, {0}};

const struct gdfo_cli_command gdfo_cmd_job_show = {
    .words = "job show",
    .usage = "ID",
    .min_words = 1,
    .max_words = 1,
    .options = options,
    .help = "one job: status, spend, best result, error",
    .run = run,
};
