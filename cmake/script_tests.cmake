# ctest cases around scripts. A script that cannot run here prints "[skipped] reason".

set(CLOZE_PEER_PYTHON "" CACHE FILEPATH
    "Python with the packages of tests/requirements.txt, for comparisons with other implementations")

# cloze_script_test(NAME "room_test: what holds" COMMAND program arguments...)
function(cloze_script_test)
    cmake_parse_arguments(TEST "" "NAME" "COMMAND" ${ARGN})
    add_test(NAME ${TEST_NAME} COMMAND ${TEST_COMMAND} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set_tests_properties(${TEST_NAME} PROPERTIES SKIP_REGULAR_EXPRESSION "\\[skipped\\]" TIMEOUT 600)
endfunction()

# cloze_peer_test(NAME "room_test: what holds" COMMAND script.py arguments...): the same, run by CLOZE_PEER_PYTHON.
function(cloze_peer_test)
    cmake_parse_arguments(TEST "" "NAME" "COMMAND" ${ARGN})
    if(CLOZE_PEER_PYTHON)
        cloze_script_test(NAME ${TEST_NAME} COMMAND ${CLOZE_PEER_PYTHON} ${TEST_COMMAND})
    else()
        cloze_script_test(NAME ${TEST_NAME}
            COMMAND ${CMAKE_COMMAND} -E echo "[skipped] needs packages from PyPI: bash tests/run.sh --all")
    endif()
    set_tests_properties(${TEST_NAME} PROPERTIES LABELS peer)
endfunction()
