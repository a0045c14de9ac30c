//! Chunks that travel packed.

use tonic::Code;
use wardround_chunks::{Packer, Unpacker};
use wardround_proto::v1;
use wardround_rollout_plans::model::Patch;
use wardround_signing::{Digest, document_bytes};

use crate::world::{Operator, World, patch};

/// Text, cut into two unequal chunks.
fn chunks() -> [Vec<u8>; 2] {
    ["wardround ".repeat(7_000).into_bytes(), "goes from bed to bed".repeat(2_000).into_bytes()]
}

fn packed(plain: &[u8]) -> Vec<u8> {
    Packer::new().unwrap().pack(plain).unwrap()
}

/// A patch whose document says how long each chunk is.
fn sized(id: &str) -> Patch {
    let mut patch = patch(id);
    let (chunks, whole) = (chunks(), chunks().concat());
    let payload = &mut patch.variants[0].payload;
    payload.digest = Digest::of(&whole);
    payload.length = whole.len() as u64;
    payload.chunks = chunks.iter().map(|chunk| Digest::of(chunk)).collect();
    payload.sizes = chunks.iter().map(|chunk| u32::try_from(chunk.len()).unwrap()).collect();
    patch
}

async fn upload(operator: &Operator, data: Vec<Vec<u8>>) -> Result<u64, tonic::Status> {
    let chunks = data.into_iter().map(|data| v1::UploadChunksRequest { data: data.into(), packed: true });
    let answer = operator.patches().upload_chunks(tokio_stream::iter(chunks.collect::<Vec<_>>())).await?;
    Ok(answer.into_inner().stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_came_packed_is_kept_and_served_so() {
    let world = World::new();
    let (_controller, operator, node) = world.with_node().await;
    let digests: Vec<Vec<u8>> = chunks().iter().map(|chunk| Digest::of(chunk).as_bytes().to_vec()).collect();
    let asked = v1::FindMissingChunksRequest { digests: digests.clone() };
    let missing = operator.patches().find_missing_chunks(asked).await.unwrap().into_inner();
    assert!(missing.takes_packed && missing.digests == digests);
    let all = chunks().map(|chunk| packed(&chunk)).to_vec();
    assert_eq!(upload(&operator, all.clone()).await.unwrap(), 2);
    assert_eq!(upload(&operator, all).await.unwrap(), 0, "they are here");

    // A document that is wrong about a length is refused before anybody is asked to sign it.
    let mut wrong = sized("KB1");
    wrong.variants[0].payload.sizes.reverse();
    let refused = operator.create_patch(document_bytes(&wrong).unwrap()).await.unwrap_err();
    assert!(refused.message().contains("not the 40000 that the document says"), "{refused:?}");
    operator.create_patch(document_bytes(&sized("KB1")).unwrap()).await.unwrap();

    for (takes_packed, afresh) in [(false, false), (true, false), (true, true)] {
        let request = v1::FetchChunksRequest { digests: digests.clone(), takes_packed, afresh };
        let mut stream = node.client().fetch_chunks(request).await.unwrap().into_inner();
        for (plain, digest) in chunks().iter().zip(&digests) {
            let came = stream.message().await.unwrap().unwrap();
            assert_eq!((came.packed, &came.digest), (takes_packed, digest));
            let bytes = match came.packed {
                true => Unpacker::new().unwrap().unpack(&came.data, plain.len()).unwrap(),
                false => came.data.to_vec(),
            };
            assert!(bytes == *plain);
        }
        assert!(stream.message().await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_become_a_chunk_is_refused() {
    let world = World::new();
    let (_controller, operator, _node) = world.with_node().await;
    let good = packed(&chunks()[0]);
    let bomb = packed(&vec![0; 64 << 20]);
    for bad in [good[..good.len() - 3].to_vec(), b"garbage".to_vec(), bomb] {
        let refused = upload(&operator, vec![bad]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains("a packed chunk is no chunk"), "{refused:?}");
    }
    assert_eq!(upload(&operator, vec![good]).await.unwrap(), 1);
}
