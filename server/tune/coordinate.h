#ifndef GDFO_SERVER_TUNE_COORDINATE_H
#define GDFO_SERVER_TUNE_COORDINATE_H

#include <stdint.h>

/*
 * Greedy search along one coordinate after the other: what scipy's COBYLA does in its first dim + 1
 * evaluations, and in the 250 of 500 variables that bbt-rgb gives it it never does more (method.md
 * 3; tests/reference/tune/cobyla.py). From the pole z a step of rho along coordinate `next` is
 * tried; where the loss is lower the pole moves there. Nothing is asked twice. Plain data.
 *
 *   struct gdfo_coordinate c = gdfo_coordinate_at(dim, loss of z);
 *   while (gdfo_coordinate_left(&c) > 0) {
 *       z[c.next] += rho;
 *       if (!gdfo_coordinate_tell(&c, f(z))) { undo }
 *   }
 */
struct gdfo_coordinate {
    int64_t dim, next;
    double pole_loss;
};

struct gdfo_coordinate gdfo_coordinate_at(int64_t dim, double pole_loss);
int64_t gdfo_coordinate_left(const struct gdfo_coordinate *c);
/* The loss of the step along `next`: 1 when the pole moves there. A NaN never does. */
int gdfo_coordinate_tell(struct gdfo_coordinate *c, double loss);

#endif
