// What every user of cuBLASLt here needs: checked calls, objects that free themselves. Included by sources only.
#pragma once

#include <cublasLt.h>

#include "kernels/core/error.h"

namespace cloze::cublaslt {

inline void check(cublasStatus_t status, const char* call, Where where = Where::here()) {
    if (status != CUBLAS_STATUS_SUCCESS) {
        fail(Fault::device, call, ": ", cublasLtGetStatusString(status), ", at ", where.file, ":", where.line);
    }
}

/// One of the library's objects, which are made and destroyed by functions of their own.
template <typename Handle, cublasStatus_t (*destroy)(Handle)>
class Owned {
public:
    Owned() = default;
    ~Owned() {
        if (handle_ != nullptr) destroy(handle_);
    }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    Handle* out() { return &handle_; }
    operator Handle() const { return handle_; }

private:
    Handle handle_ = nullptr;
};
using Library = Owned<cublasLtHandle_t, cublasLtDestroy>;
using Description = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

template <typename Value>
void set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    check(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof value),
          "cublasLtMatmulDescSetAttribute");
}

template <typename Value>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const Value& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute");
}

}  // namespace cloze::cublaslt
