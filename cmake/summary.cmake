# One screen at the end of configuration: what this build has, and what is missing costs.

message(STATUS "Cloze ${PROJECT_VERSION}, ${CMAKE_BUILD_TYPE}, -march=${CLOZE_HOST_ARCH}")
if(dnnl_FOUND)
    message(STATUS "  host matrix products: oneDNN")
else()
    message(STATUS "  host matrix products: plain loops, about 10x slower (oneDNN needs libdnnl-dev and OpenMP)")
endif()
if(OpenMP_CXX_FOUND)
    message(STATUS "  host threads: OpenMP")
else()
    message(STATUS "  host threads: one (the compiler has no OpenMP)")
endif()
