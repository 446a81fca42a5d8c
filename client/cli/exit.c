#include "client/cli/cli.h"

#include <string.h>

static const struct {
    int code;
    const char *name, *meaning;
} exits[] = {
    {GDFO_EXIT_DONE, "done", "done"},
    {GDFO_EXIT_FAILED, "failed", "failed: the request was refused or the work did not succeed"},
    {GDFO_EXIT_USAGE, "usage", "usage: the command line or the SPEC is wrong"},
    {GDFO_EXIT_DECLINED, "declined", "cancelled by the person who was asked"},
    {GDFO_EXIT_TOKEN, "token", "token missing or refused"},
    {GDFO_EXIT_NOT_FOUND, "not_found", "not found"},
    {GDFO_EXIT_CONFLICT, "conflict", "conflict: the state of the thing forbids this"},
    {GDFO_EXIT_UNREACHABLE, "unreachable", "daemon unreachable"},
    {GDFO_EXIT_BUDGET, "budget", "budget or quota refuses"},
    {GDFO_EXIT_JOB_FAILED, "job_failed", "the awaited job failed"},
    {GDFO_EXIT_JOB_CANCELLED, "job_cancelled", "the awaited job was cancelled"},
    {GDFO_EXIT_TIMEOUT, "timeout", "wait timed out"},
    {GDFO_EXIT_VERIFY, "verification", "verification failed: bytes differ from their SHA-256"},
    {GDFO_EXIT_INTERRUPTED, "interrupted", "Ctrl-C; jobs go on"},
};

const char *gdfo_exit_name(int code)
{
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++) {
        if (exits[i].code == code) {
            return exits[i].name;
        }
    }
    return NULL;
}

const char *gdfo_exit_meaning(int code)
{
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++) {
        if (exits[i].code == code) {
            return exits[i].meaning;
        }
    }
    return NULL;
}

int gdfo_exit_of_http(int http, const char *code)
{
    static const struct {
        int http, exit;
    } rows[] = {{401, GDFO_EXIT_TOKEN},    {403, GDFO_EXIT_TOKEN},    {404, GDFO_EXIT_NOT_FOUND},
                {409, GDFO_EXIT_CONFLICT}, {412, GDFO_EXIT_CONFLICT}, {402, GDFO_EXIT_BUDGET},
                {429, GDFO_EXIT_BUDGET}};
    if (code && strcmp(code, "draining") == 0) {
        return GDFO_EXIT_UNREACHABLE; /* it is going away: the same remedy as when it has gone */
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].http == http) {
            return rows[i].exit;
        }
    }
    return GDFO_EXIT_FAILED;
}

/* By the code of the wire first, then by the exit code. */
const char *gdfo_exit_next_step(const char *code, int exit_code)
{
    static const struct {
        const char *code, *next;
    } by_code[] = {
        {"file_in_use", "wait for the jobs that use it, or cancel them: gdfo job ls"},
        {"storage_full", "free space on the daemon's disk; jobs go on by themselves"},
        {"teacher_unavailable", "look at the teacher: gdfo teacher ls; then try again"},
        {"body_too_large", "send less at once; large data goes into a file: gdfo file put"},
        {"overloaded", "try again in a few seconds"},
        {"internal_error", "this is the daemon's fault; its log has more under the request id"},
        {"invalid_transition", "look at its status: gdfo job show ID"},
        {"not_supported", "this build or this teacher cannot do it; leave it out"},
        {"unknown_field", "correct the spelling, or leave the member out"},
        {"draining", "the daemon is stopping; try again once it is back"},
    };
    static const struct {
        int exit;
        const char *next;
    } by_exit[] = {
        {GDFO_EXIT_USAGE, "read the help: gdfo help, or COMMAND --help"},
        {GDFO_EXIT_TOKEN, "set GDFO_TOKEN to a token of this daemon"},
        {GDFO_EXIT_NOT_FOUND, "list what there is: gdfo job ls, gdfo file ls, gdfo teacher ls"},
        {GDFO_EXIT_CONFLICT, "look at its state first: gdfo job show ID"},
        {GDFO_EXIT_UNREACHABLE, "start gdfod, or set GDFO_URL (or --url) to where it listens"},
        {GDFO_EXIT_BUDGET, "raise the budget, or wait for the next period"},
        {GDFO_EXIT_JOB_FAILED, "read its events: gdfo job events ID"},
        {GDFO_EXIT_JOB_CANCELLED, "its best prompt so far is kept: gdfo job show ID"},
        {GDFO_EXIT_TIMEOUT, "the job goes on; wait again, or watch it: gdfo watch ID"},
        {GDFO_EXIT_VERIFY, "fetch it again; if it stays so, the stored bytes are damaged"},
        {GDFO_EXIT_INTERRUPTED, "run the command again"},
    };
    for (size_t i = 0; code && i < sizeof by_code / sizeof by_code[0]; i++) {
        if (strcmp(by_code[i].code, code) == 0) {
            return by_code[i].next;
        }
    }
    for (size_t i = 0; i < sizeof by_exit / sizeof by_exit[0]; i++) {
        if (by_exit[i].exit == exit_code) {
            return by_exit[i].next;
        }
    }
    return "correct what the message names and try again";
}
