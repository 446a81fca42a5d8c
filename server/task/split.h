#ifndef GDFO_SERVER_TASK_SPLIT_H
#define GDFO_SERVER_TASK_SPLIT_H

#include "server/task/dataset.h"

/*
 * Which rows train and which select. First k_shot rows of each label are drawn (0 = all), then the
 * share dev_split of what was drawn is set aside, label by label, at least one row of each label on
 * either side. The draw depends on the seed and the dataset alone; rows come out in file order.
 */
#define GDFO_SPLIT_AUTO          (-1.0)
#define GDFO_SPLIT_AUTO_SHARE    0.25
#define GDFO_SPLIT_AUTO_ROWS_MIN 4U /* of each label, else auto sets nothing aside */

struct gdfo_split_opts {
    uint32_t k_shot;  /* rows of each label, 0 = all */
    double dev_split; /* 0..0.5, or GDFO_SPLIT_AUTO */
    uint64_t seed;
};

struct gdfo_split {
    uint32_t *train, *dev; /* row numbers, rising; owned, ended by gdfo_split_deinit */
    size_t n_train, n_dev;
    int is_dev_off; /* auto found too few rows of some label: worth a warning (dev_split_off) */
};

/* INVALID with code too_few_examples, naming the label, its number of rows and what was asked. */
GDFO_MUST_USE enum gdfo_status gdfo_split_draw(struct gdfo_split *out, const struct gdfo_dataset *d,
                                               const struct gdfo_split_opts *opts,
                                               struct gdfo_error *err);
void gdfo_split_deinit(struct gdfo_split *s);

#endif
