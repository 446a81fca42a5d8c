#include "server/tune/coordinate.h"

struct gdfo_coordinate gdfo_coordinate_at(int64_t dim, double pole_loss)
{
    return (struct gdfo_coordinate){.dim = dim, .pole_loss = pole_loss};
}

int64_t gdfo_coordinate_left(const struct gdfo_coordinate *c)
{
    return c->dim - c->next;
}

int gdfo_coordinate_tell(struct gdfo_coordinate *c, double loss)
{
    int is_lower = loss < c->pole_loss;
    c->next++;
    c->pole_loss = is_lower ? loss : c->pole_loss;
    return is_lower;
}
