# Bash splits words at : and = as well, and gives the part behind them to be completed. The program wants whole words.
_gatewarden() {
    local rest=$COMP_LINE quote="" prefix="" words=() index=0 i word candidate break part
    for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == 0)) || [[ $rest == [[:space:]]* ]]; then
            words+=("$word")
        else
            words[${#words[@]}-1]+=$word
        fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        rest=${rest#"$word"}
        if ((i == COMP_CWORD)); then
            index=$((${#words[@]} - 1))
            break
        fi
    done
    word=${words[index]}
    [[ $word == [\"\']* ]] && quote=${word:0:1}
    words=("${words[@]//[\"\'\\]/}")
    word=${words[index]}
    if [[ -z $quote ]]; then
        for break in : =; do
            part=${word%"${word##*$break}"}
            [[ $COMP_WORDBREAKS == *$break* ]] && ((${#part} > ${#prefix})) && prefix=$part
        done
    fi
    local IFS=$'\013'
    COMPREPLY=($(_CLAP_IFS="$IFS" _CLAP_COMPLETE_INDEX=$index _CLAP_COMPLETE_COMP_TYPE=$COMP_TYPE _CLAP_COMPLETE_SPACE=false \
        _GATEWARDEN_COMPLETE=bash gatewarden -- "${words[@]}")) || COMPREPLY=()
    for i in "${!COMPREPLY[@]}"; do
        candidate=${COMPREPLY[i]#"$prefix"}
        [[ -z $quote && $candidate == *[^[:alnum:]_./:=@%+,~-]* ]] && printf -v candidate %q "$candidate"
        COMPREPLY[i]=$candidate
    done
    [[ ${COMPREPLY-} != *[=/:] ]] || compopt -o nospace 2> /dev/null
}
complete -o bashdefault -F _gatewarden gatewarden
