#ifndef GDFO_SERVER_TEACHER_EXCHANGE_H
#define GDFO_SERVER_TEACHER_EXCHANGE_H

#include "common/buf.h"
#include "common/opt.h"
#include "server/teacher/teacher.h"
#include "server/teacher/trie.h"

/*
 * A teacher over HTTP, as its adapter sees it: pure functions between a block of cells and the
 * bytes of one exchange. No socket, no clock, no thread, no state: the driver (remote.c) cuts
 * requests into blocks, sends, resends, and joins; so an adapter is tested and fuzzed without a
 * network (teachers.md 1.1).
 *
 *   ops->probe_encode(&setup, step, &exchange, &is_done, err)     at registration, step 0, 1, ...
 *   ops->probe_decode(&setup, step, &answer, &profile, err)
 *   ops->encode(&setup, &block, &exchange, err)                   for every block
 *   ops->decode(&setup, &block, &answer, &cells, err)             a verdict
 */
struct gdfo_model;

#define GDFO_EXCHANGE_HEADERS_MAX 8

struct gdfo_exchange_header {
    const char *name; /* static storage, lower case */
    char value[128];  /* printable ASCII */
};

struct gdfo_exchange {  /* one request; the driver adds authorisation and the idempotency key */
    const char *method; /* "GET" or "POST" */
    char path[512];     /* below the base URL, beginning with '/', percent-encoded where needed */
    struct gdfo_exchange_header headers[GDFO_EXCHANGE_HEADERS_MAX];
    size_t n_headers;
    struct gdfo_buf body; /* initialised by the driver with the teacher's ceiling */
    size_t answer_max;    /* bytes of a body that can be right, at most 16 MiB */
    int64_t tokens;       /* that the server is going to count, at most; for rate limits */
};

struct gdfo_exchange_answer {
    int status;       /* of HTTP */
    const char *body; /* not NUL-terminated; hostile */
    size_t n;
    /* Value of a header by its lower-case name, NULL when it is absent; valid until the next one
       is asked for. */
    const char *(*header)(const struct gdfo_exchange_answer *a, const char *name);
    void *headers; /* the driver's */
};

/* Status and body code together (teachers.md 2). */
enum gdfo_verdict {
    GDFO_VERDICT_OK,
    GDFO_VERDICT_RETRY,    /* transient: send again later */
    GDFO_VERDICT_THROTTLE, /* the server wants fewer: all of the teacher's calls wait */
    GDFO_VERDICT_PAUSE,    /* a person has to act: key, money */
    GDFO_VERDICT_FATAL,    /* this request will never do */
    GDFO_VERDICT_BAD       /* an answer that cannot be right: one resend, then PAUSE */
};

enum gdfo_score_kind {                      /* the best that a teacher says of a label, ascending */
                       GDFO_SCORE_HARD = 1, /* the one token it emits */
                       GDFO_SCORE_TOPK,     /* the most likely few tokens */
                       GDFO_SCORE_LABELS,   /* every token that is asked for */
                       GDFO_SCORE_LOGITS
};

enum gdfo_grid { GDFO_GRID_F32, GDFO_GRID_F16, GDFO_GRID_BF16 }; /* what rows are rounded to */

/* What a probe found. Kept with the teacher; zero is "not known" or "no". */
struct gdfo_remote_profile {
    char model[160];  /* as the server names it in answers */
    char server[160]; /* name and version, as it says */
    enum gdfo_soft soft;
    enum gdfo_score_kind score;
    enum gdfo_grid grid;
    uint32_t d_model;       /* 0 where soft is NONE or WHOLE rows come from a local matrix */
    uint32_t max_positions; /* of a whole input */
    uint32_t max_ids;       /* next-token ids that one cell may ask for */
    uint32_t max_prompts, max_examples, max_cells; /* of one exchange; cells count trie nodes too */
    int has_hidden, has_logits;
    int reuses_text;     /* keeps a text's keys and values for the next prompt: suffix is cheap */
    int takes_binary;    /* oip: binary tensors */
    int takes_many;      /* oip: soft_prompt of rank 3 */
    int bos_before_soft; /* vllm chat: the template puts tokens before the rows */
    int route;           /* the adapter's own: its choice among the server's routes, and flags */
    char layout[65]; /* hex SHA-256 of what surrounds rows and text on the server; "" = nothing */
};

struct gdfo_remote_setup {                     /* everything an adapter works from; borrowed */
    const void *options;                       /* of the adapter's own table */
    const char *model;                         /* the name on the server */
    const struct gdfo_remote_profile *profile; /* zeroed, then growing, while it is probed */
    /* A local model with the teacher's own tokenizer and embedding matrix; NULL when there is
       none. Adapters that must send tokens or whole inputs need it. */
    const struct gdfo_model *local;
};

/*
 * A block: prompts [first_prompt, + n_prompts) x examples [first_example, + n_examples) x trie
 * nodes [first_node, + n_nodes) of a request. A cell is one (prompt, example, node): the text is
 * body and cue, then the node's path. Of a cell at node k the teacher is asked the
 * log-probabilities of the next tokens trie->nodes[k].asked, and at node 0 behind them those of
 * req->anchor_ids. A block fits the profile's maxima.
 *
 * A teacher that takes text alone (soft is NONE) is matched by words: its label forms have one id
 * each, any distinct numbers, and req->form_texts; so there is no node but the root, and no anchor.
 */
struct gdfo_remote_block {
    const struct gdfo_score_req *req;
    const struct gdfo_trie *trie;
    uint32_t first_prompt, n_prompts, first_example, n_examples, first_node, n_nodes;
};

/* Next-token ids asked at a node of the block's trie, anchors included. */
static inline uint32_t gdfo_remote_n_asked(const struct gdfo_remote_block *b, uint32_t node)
{
    return b->trie->nodes[node].n_asked + (node == 0 ? b->req->n_anchors : 0);
}

static inline int32_t gdfo_remote_asked(const struct gdfo_remote_block *b, uint32_t node,
                                        uint32_t i)
{
    const struct gdfo_trie_node *n = &b->trie->nodes[node];
    return i < n->n_asked ? n->asked[i] : b->req->anchor_ids[i - n->n_asked];
}

enum gdfo_cell_flag { /* of one value */
                      GDFO_CELL_EXACT,
                      GDFO_CELL_CENSORED, /* an upper bound */
                      GDFO_CELL_FLOORED,  /* the server's own least number */
                      GDFO_CELL_HARD      /* from emitted tokens alone */
};

/* Where decode puts what it read; caller's storage. Values of the block's cells, prompt by prompt,
 * example by example, node by node, each node's asked ids in their order: the count is n_prompts x
 * n_examples x the sum of gdfo_remote_n_asked over the block's nodes. */
struct gdfo_remote_cells {
    float *lp;      /* NaN where nothing was said */
    uint8_t *flags; /* enum gdfo_cell_flag */
    float *hidden;  /* [n_prompts][n_examples][d_model] at node 0; NULL: not asked */
    /* [n_examples] set to 1 where a text was cut to the teacher's positions; NULL: not asked */
    uint8_t *truncated;
    struct gdfo_usage usage;
    char request_id[64]; /* the server's, printable; "" when it names none */
};

struct gdfo_remote_ops {
    const char *name, *help;
    const struct gdfo_opt *options; /* ended by {0} */
    size_t options_bytes;
    /* The exchange of step 0, 1, ... of a probe; *is_done without one when the profile is whole.
     * What setup->profile holds is what the steps before it found. */
    enum gdfo_status (*probe_encode)(const struct gdfo_remote_setup *setup, uint32_t step,
                                     struct gdfo_exchange *out, int *is_done,
                                     struct gdfo_error *err);
    /* Any answer that the server gave, of any status. UNSUPPORTED or UPSTREAM with what is lacking
     * and what to do. */
    enum gdfo_status (*probe_decode)(const struct gdfo_remote_setup *setup, uint32_t step,
                                     const struct gdfo_exchange_answer *answer,
                                     struct gdfo_remote_profile *profile, struct gdfo_error *err);
    /* LIMIT: not in one exchange (body, answer, ids of different nodes together); the driver halves
     * the block, and what is a single cell is the request's failure. */
    enum gdfo_status (*encode)(const struct gdfo_remote_setup *setup,
                               const struct gdfo_remote_block *block, struct gdfo_exchange *out,
                               struct gdfo_error *err);
    /* An answer of status 200 alone. OK: every cell is filled as far as the teacher's kind of score
     * goes. RETRY: cut short, or no JSON. BAD: anything else that cannot be right. err says what,
     * without bytes of the answer but for its own short, cleaned words. */
    enum gdfo_verdict (*decode)(const struct gdfo_remote_setup *setup,
                                const struct gdfo_remote_block *block,
                                const struct gdfo_exchange_answer *answer,
                                struct gdfo_remote_cells *cells, struct gdfo_error *err);
};

/* The adapters of remote.def, in its order; NULL past the last. */
const struct gdfo_remote_ops *gdfo_remote_adapter(size_t index);
const struct gdfo_remote_ops *gdfo_remote_find(const char *name); /* NULL */

/* The driver of all of them, seen as a teacher's adapter (remote_run.c). */
extern const struct gdfo_teacher_ops gdfo_teacher_remote_ops;

#endif
