// Functions that both the host and the device compile: the random generator, the dropout mapping, bf16.
#pragma once

#ifdef __CUDACC__
#define CLOZE_HD __host__ __device__
#else
#define CLOZE_HD
#endif
