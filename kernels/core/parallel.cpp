#include "kernels/core/parallel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace cloze {

#ifdef _OPENMP

int set_thread_count(int threads) {
    omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs());
    return thread_count();
}
int thread_count() {
    return omp_get_max_threads();
}

#else

int set_thread_count(int) {
    return 1;
}
int thread_count() {
    return 1;
}

#endif

}  // namespace cloze
